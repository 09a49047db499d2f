"""Real vLLM on the CPU: two replicas behind the router. Run by `make test-vllm`, which installs them."""

import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM

from longva_demo.chat import ChatSession, LocalEngine, Progress, Sampling, Stage, TextDelta, VideoSource, open_engine
from longva_demo.chat.remote import RemoteEngine, prefix
from longva_demo.chat.remote.transport import Transport
from longva_demo.chat.remote.wire import GENERATE, Item, Usage, frames_data, frames_item, read_events, request_body
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.model.hub import TINY_FOLDER
from longva_demo.model.longva import VISUAL_TOKEN
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.model.golden import CHECKPOINTS, Case, cases, load_processor
from tests.remote.test_contract import CONVERSATIONS, SCHEMA, run
from tests.support.cluster import Cluster, empty_folder
from tests.support.needle_clips import clips, write_scenes
from tests.vllm.pad_heads import pad_checkpoint

KEY = "secret"
LONG = Sampling(max_new_tokens=64)
QUESTION = "What is the meaning of life, please?"


@pytest.fixture(scope="session")
def local() -> LocalEngine:
    return LocalEngine(load("tiny", device="cpu"), Settings())


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), key=KEY) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def remote(cluster: Cluster) -> RemoteEngine:
    return RemoteEngine.connect(Settings(engine=cluster.address, engine_key=KEY))


def open_chat(engine: Any, name: str = "needle.mp4", num_frames: int = 200) -> ChatSession:
    session, info = ChatSession(engine, is_shared=False), probe(EXAMPLES_FOLDER / name)
    session.set_source(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    return session


def answers(session: ChatSession, question: str = QUESTION) -> list[Any]:
    return list(session.ask(question, LONG))


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(prefix, "MAX_WAIT", 0.02)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_same_tokens(name: str, local: LocalEngine, remote: RemoteEngine) -> None:
    assert run(remote, *CONVERSATIONS[name]) == run(local, *CONVERSATIONS[name])


def test_the_engine_is_described(remote: RemoteEngine) -> None:
    figures = {figure.name: figure for figure in remote.figures()}
    assert remote.health() == "ok"
    assert remote.num_replicas == 2
    assert figures["engine_cached_tokens"].values[""] > 0
    assert figures["engine_prompt_tokens"].values[""] > figures["engine_cached_tokens"].values[""]


def test_an_answer_of_a_schema(remote: RemoteEngine) -> None:
    """Without optional spaces, which the built-in model would write until the answer's limit."""
    with closing(open_chat(remote, "shapes.mp4", 8)) as session:
        list(session.ask("What do you see?", replace(LONG, json_schema=SCHEMA)))
        answer = session.turns[0].answer
    jsonschema.validate(json.loads(answer), json.loads(SCHEMA))
    assert len(answer) <= len(json.dumps(json.loads(answer))), answer


def test_the_frame_where_an_answer_was_first_seen(remote: RemoteEngine, tmp_path: Path) -> None:
    """Digits in one or two frames of 40."""
    num_right = 0
    for number, (scenes, asked, frames) in enumerate(clips(40, 4)):
        clip = tmp_path / f"{number}.mp4"
        write_scenes(clip, scenes)
        info = probe(clip)
        with closing(ChatSession(remote)) as session:
            session.set_source(VideoSource(info, plan_frames(info, 40), remote.processor))
            answers(session, asked.question)
            turn = session.attribute_last_answer()
            assert turn is not None
            assert turn.attribution is not None
            if turn.answer == asked.answer:
                num_right += 1
                assert set(turn.attribution.used_frames) <= frames
    assert num_right >= 3


def busy_replica(cluster: Cluster, before: list[int]) -> int:
    """The replica that has answered most requests since `before`."""
    counts = [cluster.num_requests(number) - before[number] for number in range(2)]
    return counts.index(max(counts))


@pytest.mark.parametrize("when", ["prefill", "answer"])
def test_a_killed_replica_costs_no_word(when: str, cluster: Cluster, remote: RemoteEngine, local: LocalEngine) -> None:
    with closing(open_chat(local)) as session:
        answers(session)
        expected = session.turns[0].ids
    before = [cluster.num_requests(number) for number in range(2)]
    killed, num_words, silence, last = None, 0, 0.0, time.monotonic()
    with closing(open_chat(remote)) as session:
        for event in session.ask(QUESTION, LONG):
            now = time.monotonic()
            if killed is not None:
                silence = max(silence, now - last)
            last = now
            num_words += isinstance(event, TextDelta)
            is_reading = isinstance(event, Progress) and event.stage == Stage.PREFILL and event.done == 128
            if killed is None and (is_reading if when == "prefill" else num_words == 3):
                killed = busy_replica(cluster, before)
                cluster.replicas[killed].kill()
                last = time.monotonic()
        assert killed is not None
        cluster.restart(killed)
        assert session.turns[0].ids == expected
        assert silence < 5


def test_all_are_restarted(cluster: Cluster, remote: RemoteEngine, local: LocalEngine) -> None:
    """Frames and prefixes are gone: they are sent again, step by step."""
    questions = ("Which digit is shown?", QUESTION)
    with closing(open_chat(local)) as session:
        for question in questions:
            answers(session, question)
        expected = [turn.ids for turn in session.turns]
    with closing(open_chat(remote)) as session:
        answers(session, questions[0])
        for replica in cluster.replicas:
            replica.kill()
        for number in range(2):
            cluster.restart(number)
        time.sleep(8)  # until the router sends them requests again
        events = answers(session, questions[1])
        assert [turn.ids for turn in session.turns] == expected
        assert session.turns[1].stats.was_evicted
        assert any(isinstance(event, Progress) and event.stage == Stage.PREFILL for event in events)


@pytest.mark.usefixtures("short_waits")
def test_a_full_queue(cluster: Cluster) -> None:
    """The router lets no request through and keeps no queue. The chat loses nothing, and goes on once there is room."""
    engine = RemoteEngine.connect(Settings(engine=cluster.address, engine_key=KEY))
    with closing(open_chat(engine, num_frames=16)) as session:
        answers(session, "Which digit is shown?")
        with cluster.another_router("--max-concurrent-requests=0", "--queue-size=0") as full:
            engine.transport.base = full
            with pytest.raises(DemoError, match="the engine is busy: its queue is full; try again in a minute"):
                answers(session)
        assert len(session.turns) == 1
        engine.transport.base = cluster.address
        answers(session)
        assert session.turns[1].answer


def test_without_the_plugin(tmp_path: Path) -> None:
    """vLLM as it is cannot read the checkpoint at all, so a model of text alone is served under its name."""
    model = text_checkpoint(tmp_path / "text")
    flags = ("--max-model-len=2048",)
    with (
        Cluster(empty_folder(tmp_path / "logs"), str(model), num_replicas=1, flags=flags, has_plugin=False) as cluster,
        pytest.raises(DemoError, match=r"runs without the plugin longva_vllm; docs/scale\.md has") as error,
    ):
        open_engine(Settings(engine=cluster.address))
    assert "\n" not in str(error.value)


def text_checkpoint(folder: Path) -> Path:
    """A random Qwen2 with the built-in model's tokenizer."""
    values = json.loads((TINY_FOLDER / "config.json").read_text("utf-8"))
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = Qwen2Config(vocab_size=values["vocab_size"], num_attention_heads=2, num_key_value_heads=1, **sizes)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"):
        shutil.copy(TINY_FOLDER / name, folder)
    return folder


def test_a_wrong_key(cluster: Cluster) -> None:
    for address in (cluster.address, cluster.replicas[0].address):
        with pytest.raises(DemoError, match="the engine refuses the key; set LONGVA_ENGINE_KEY"):
            open_engine(Settings(engine=address, engine_key="wrong"))


def test_another_model(cluster: Cluster) -> None:
    with pytest.raises(DemoError, match="the engine serves tiny, not lmms-lab/LongVA-7B"):
        open_engine(Settings(engine=cluster.address, engine_key=KEY, model="lmms-lab/LongVA-7B"))


def test_too_long_a_prompt(remote: RemoteEngine) -> None:
    """The page refuses it before; a replica that was restarted with a smaller context refuses it too."""
    ids = [*remote.template.header] * (remote.model.context_length // len(remote.template.header) + 1)
    body = request_body(remote.served, ids, [], {"temperature": 0.0, "max_tokens": 1})
    with pytest.raises(DemoError, match="the engine's context is full"):
        list(read_events(remote.transport.stream(GENERATE, body, {}, lambda: False), Usage()))


def test_a_stopped_answer_frees_the_replica(cluster: Cluster, remote: RemoteEngine) -> None:
    def num_running() -> int:
        texts = [httpx.get(f"{replica.address}/metrics", trust_env=False).text for replica in cluster.replicas]
        lines = [line for text in texts for line in text.splitlines()]
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vllm:num_requests_running"))

    with closing(open_chat(remote)) as session:
        answers(session, "Which digit is shown?")
        events = session.ask(QUESTION, LONG)
        while not isinstance(next(events), TextDelta):
            pass
        session.stop()
        events.close()
        stopped = time.monotonic()
        while num_running():
            assert time.monotonic() - stopped < 1
            time.sleep(0.05)


def request_of(case: Case, place: int) -> tuple[list[int], list[dict[str, Any]]]:
    """A golden case as token ids and items: frames and pictures in their own size, which the plugin preprocesses."""
    masked = set(case.record.get("attention_mask_false_at") or ())  # the original drops these tokens
    ids = [place if token == VISUAL_TOKEN else token for at, token in enumerate(case.record["input_ids"])]
    ids = [token for at, token in enumerate(ids) if at not in masked]
    parts = []
    for frames in case.visuals.get("videos", []):
        parts.append(frames_item(frames, 0).part(frames_data(frames)))
    for number, image in enumerate(case.visuals.get("images", [])):
        file = io.BytesIO()
        image.save(file, "PNG")
        parts.append(Item("image", f"{case.record['name']}-{number}").part(file.getvalue()))
    return ids, parts


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=str)
def test_golden_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    """What the original code computed: greedily, and with the checkpoint's repetition penalty."""
    model = pad_checkpoint(checkpoint, tmp_path / "checkpoint")
    generation = json.loads((checkpoint / "generation_config.json").read_text("utf-8"))
    penalty = {"extra_args": {"answer_penalty": generation.get("repetition_penalty", 1.0)}}
    place = load_processor(checkpoint).tokenizer.convert_tokens_to_ids("<|endoftext|>")
    mine = [case for case in cases() if case.checkpoint == checkpoint]
    asked = [case for case in mine if not (case.is_truncated or {"preprocessing", "config_override"} & {*case.record})]
    assert len(asked) >= 10
    with Cluster(empty_folder(tmp_path / "logs"), str(model), "golden", 1, flags=("--max-model-len=2048",)) as cluster:
        transport = Transport(cluster.address)

        def tokens(case: Case, **params: Any) -> tuple[list[int], int]:
            ids, parts = request_of(case, place)
            params |= {"temperature": 0.0, "max_tokens": 24, "logprobs": 0, "detokenize": False}
            body, usage = request_body("golden", ids, parts, params), Usage()
            events = transport.stream(GENERATE, body, {}, lambda: False)
            return [token.id for token in read_events(events, usage)], usage.prompt_tokens

        for case in asked:
            found, length = tokens(case, ignore_eos=True)
            assert found == case.record["greedy_ids"], case
            assert length == case.record["sequence_length"], case
            found, _ = tokens(case, stop_token_ids=generation["eos_token_id"], **penalty)
            assert found == case.record["greedy_ids_generation_config"], case
