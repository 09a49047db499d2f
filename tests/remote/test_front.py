"""The command line, Python, the page and its API on an engine elsewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import longva_demo as longva
from longva_demo.chat import LocalEngine
from longva_demo.cli import main as cli
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from tests.server.openai.support import CHAT, about, data_url
from tests.support.fake_replica import Replica, serving
from tests.support.server import call, file_at
from tests.support.server import serving as serving_page

CLIP = EXAMPLES_FOLDER / "needle.mp4"
QUESTION = "Which digit is shown?"
KEY = "secret"


@pytest.fixture(scope="module")
def engine(local: LocalEngine) -> Iterator[str]:
    with serving(Replica(local, key=KEY)) as address:
        yield address


@pytest.fixture(scope="module")
def page(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("page") / "server.log"
    with serving_page(log, "--engine", engine, LONGVA_ENGINE_KEY=KEY) as address:
        yield address


@pytest.fixture(scope="module")
def expected() -> str:
    with longva.open(CLIP, frames=64, model="tiny", device="cpu") as chat:
        return chat.answer(QUESTION)


def test_python(engine: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVA_ENGINE_KEY", KEY)
    with longva.open(CLIP, frames=64, engine=engine) as chat:
        assert chat.answer(QUESTION) == expected
        assert chat.attribution is not None
        assert (chat.attribution.is_first_seen, len(chat.frames)) == (True, 64)
        assert "tiny, 1 turns" in repr(chat)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_ask(engine: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LONGVA_ENGINE_KEY", KEY)
    arguments = ("ask", str(CLIP), QUESTION, "--frames", "64", "--engine", engine, "--json")
    code, out, err = run(capsys, *arguments)
    assert code == 0
    found = json.loads(out)
    assert (found["answer"], found["model"], len(found["frames"])) == (expected, "tiny", 64)
    assert "tiny answers, on an engine elsewhere." in err
    assert engine not in err
    monkeypatch.setenv("LONGVA_ENGINE_KEY", "wrong")
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err == "longva-demo: the engine refuses the key; set LONGVA_ENGINE_KEY to the --api-key of its replicas\n"


@pytest.mark.usefixtures("page")
def test_other_commands(engine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LONGVA_ENGINE_KEY", KEY)
    code, _, err = run(capsys, "niah", "--engine", engine, "--frames", "8")
    assert code == 2
    assert "the needle test needs the model in this process; leave out --engine" in err
    code, out, _ = run(capsys, "doctor", "--engine", engine, "--json")
    assert code == 0
    facts = json.loads(out)["engine"]
    assert (facts["problem"], facts["model"], facts["replicas"]) == (None, "tiny", 1)
    code, out, _ = run(capsys, "doctor", "--engine", "http://127.0.0.1:9")
    assert "no engine answers at http://127.0.0.1:9" in out


def test_the_endpoints(page: str, expected: str) -> None:
    file = file_at(str(upload(page, CLIP)))
    events = call(page, "chat", QUESTION, file, 64, "", "", 0, 1, 64)
    assert json.loads(re.findall(r"data: (.*)", events)[-1]) == [expected]
    cost = json.loads(re.findall(r"data: (.*)", call(page, "sample_frames", file, 64, "", ""))[-1])[0]["cost"]
    assert cost["free_bytes"] is None
    assert cost["fits"] is True


def test_the_openai_api(page: str, expected: str) -> None:
    """With a JSON schema too."""
    body = {"messages": about(data_url(CLIP), QUESTION), "num_frames": 64, "max_tokens": 64}
    reply = httpx.post(f"{page}{CHAT}", json=body, timeout=60)
    assert reply.json()["choices"][0]["message"]["content"] == expected
    schema = {"type": "json_schema", "json_schema": {"name": "digit", "schema": {"enum": ["one", "two"]}}}
    reply = httpx.post(f"{page}{CHAT}", json={**body, "response_format": schema}, timeout=60)
    assert json.loads(reply.json()["choices"][0]["message"]["content"]) in ("one", "two")


def upload(page: str, file: Path) -> Path:
    answer = httpx.post(f"{page}/gradio_api/upload", files={"files": (file.name, file.read_bytes())}).json()
    return Path(answer[0])


def test_health_and_metrics(page: str) -> None:
    assert httpx.get(f"{page}/healthz").json() == {"status": "ok", "model": "tiny", "engine": "ok"}
    text = httpx.get(f"{page}/metrics").text
    assert "longva_engine_up 1.0" in text
    assert re.search(r"longva_engine_prompt_tokens_total [1-9]", text)
    assert "longva_kv_bytes" not in text


def test_the_page_leaves_out_what_the_engine_cannot_do(page: str, address: str) -> None:
    """And says why, once; a page with the model in its own process has it all."""
    elsewhere, here = (element_ids(one) for one in (page, address))
    assert here - elsewhere == {"needle-tab", "needle-test", "chapters-tab", "chapters"}
    assert elsewhere - here == set()


def element_ids(page: str) -> set[str]:
    components = httpx.get(f"{page}/config").json()["components"]
    return {str(one["props"].get("elem_id")) for one in components}


def test_visitors_do_not_learn_the_engines_address(page: str, engine: str) -> None:
    for path in ("/", "/config", "/healthz", "/metrics", "/gradio_api/info"):
        assert engine.removeprefix("http://") not in httpx.get(f"{page}{path}").text
