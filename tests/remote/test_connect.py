"""Which engines are refused at the start, in one line; and that no weights are loaded here."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from longva_demo.chat import Capability, LocalEngine, open_engine
from longva_demo.chat.open_engine import in_process
from longva_demo.chat.remote import RemoteEngine
from longva_demo.chat.remote.engine import base_address
from longva_demo.chat.remote.health import Health, count_workers
from longva_demo.chat.remote.transport import Transport
from longva_demo.errors import DemoError
from longva_demo.settings import Settings
from tests.support.fake_replica import Refused, Replica, ReplicaHandler, serving


@pytest.mark.parametrize(
    ("replica_options", "settings", "message"),
    [
        ({"key": "secret"}, {}, "the engine refuses the key; set LONGVA_ENGINE_KEY"),
        ({"key": "secret"}, {"engine_key": "wrong"}, "the engine refuses the key; set LONGVA_ENGINE_KEY"),
        ({"name": "lmms-lab/LongVA-7B"}, {"model": "tiny"}, "the engine serves lmms-lab/LongVA-7B, not tiny"),
        ({"name": "no-such-model"}, {}, "there is no folder 'no-such-model'"),
        ({"has_plugin": False}, {}, "runs without the plugin longva_vllm"),
    ],
)
def test_refused(
    local: LocalEngine, replica_options: dict[str, object], settings: dict[str, str], message: str
) -> None:
    with serving(Replica(local, **replica_options)) as address, pytest.raises(DemoError, match=message) as error:
        open_engine(Settings(engine=address, **settings))
    assert "\n" not in str(error.value)


def test_without_the_extended_api(local: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplicaHandler, "do_POST", lambda self: self.send(404, {"detail": "Not Found"}))
    with serving(Replica(local)) as address, pytest.raises(DemoError, match="start vLLM with --enable-scale-out"):
        open_engine(Settings(engine=address))


def test_a_model_of_text_alone(local: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM without the plugin, which cannot read the checkpoint, with another one under its name."""

    def refuse(self: Replica, body: dict[str, object]) -> None:  # noqa: ARG001
        raise Refused(400, "tiny is not a multimodal model")

    monkeypatch.setattr(Replica, "check", refuse)
    with serving(Replica(local)) as address, pytest.raises(DemoError, match="runs without the plugin longva_vllm;"):
        open_engine(Settings(engine=address))


def test_another_server(monkeypatch: pytest.MonkeyPatch, local: LocalEngine) -> None:
    monkeypatch.setattr(ReplicaHandler, "do_GET", lambda self: self.send(200, ["hello"]))
    with serving(Replica(local)) as address, pytest.raises(DemoError, match="is not vLLM or vllm-router"):
        open_engine(Settings(engine=address))


@pytest.mark.parametrize("address", ["router:30000", "ftp://router", "http://", "http://me:pw@router", "http://a b"])
def test_not_an_address(address: str) -> None:
    with pytest.raises(DemoError, match="is not the address of an engine; use http://host:port"):
        base_address(address)


def test_nothing_answers() -> None:
    with pytest.raises(DemoError, match=r"no engine answers at http://127.0.0.1:9 \(ConnectError\); start it"):
        open_engine(Settings(engine="http://127.0.0.1:9"))


def test_the_right_key(local: LocalEngine) -> None:
    with serving(Replica(local, key="secret")) as address:
        engine = open_engine(Settings(engine=f"{address}/v1/", engine_key="secret"))
        assert (engine.model.id, engine.model.quant, engine.model.is_here) == ("tiny", "none", False)
        assert engine.model.tokens_per_frame == local.model.tokens_per_frame
        assert engine.health() == "ok"
        assert address not in engine.model.reason  # which visitors see


def test_what_it_cannot_do(remote: RemoteEngine, local: LocalEngine) -> None:
    assert remote.capabilities == frozenset()
    assert local.capabilities == frozenset(Capability)
    assert in_process(local, Capability.NEEDLE_TEST) is local
    with pytest.raises(DemoError, match="the needle test needs the model in this process; leave out --engine"):
        in_process(remote, Capability.NEEDLE_TEST)


def test_the_served_name_can_have_a_revision(local: LocalEngine) -> None:
    with serving(Replica(local, name="tiny@0123abcd")) as address:
        for model in ("auto", "tiny", "tiny@0123abcd"):
            engine = RemoteEngine.connect(Settings(engine=address, model=model))
            assert (engine.model.id, engine.model.revision, engine.served) == ("tiny", "0123abcd", "tiny@0123abcd")


def test_no_weights_are_loaded(served: tuple[Replica, str]) -> None:
    code = f"""
import safetensors, safetensors.torch, torch
from longva_demo.chat import open_engine
from longva_demo.settings import Settings
def refuse(*_, **__): raise AssertionError("weights were opened")
safetensors.safe_open = safetensors.torch.load_file = safetensors.torch.safe_open = torch.nn.Module.__init__ = refuse
print(open_engine(Settings(engine={served[1]!r})).model.id)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "tiny\n"), found.stderr


def test_health_follows_the_engine(local: LocalEngine, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as server:
        transport = Transport(server.enter_context(serving(Replica(local))))
        health = Health(transport)
        transport.start(health.check()).result()
        assert (health.problem, health.num_replicas) == ("", 1)
        server.close()
        transport.start(health.check()).result()
        assert health.problem == "the engine does not answer (ConnectError)"
        assert [record.message for record in caplog.records if record.name.startswith("longva_demo")] == [
            "the engine elsewhere does not answer, or is not healthy"
        ]


@pytest.mark.parametrize(
    ("values", "count"), [({"urls": ["a", "b", "c"]}, 3), (["a", "b"], 2), ({"urls": []}, 1), (None, 1), ("x", 1)]
)
def test_replicas_behind_a_router(values: object, count: int) -> None:
    assert count_workers(values) == count
