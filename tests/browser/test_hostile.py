"""Invalid requests to the page or its endpoints get one message, without delay. Texts are never executed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from playwright.sync_api import Browser, expect

from longva_demo.chat import LocalEngine
from longva_demo.model import load
from longva_demo.server import build_app
from longva_demo.settings import Settings
from tests.support.browser import Visit
from tests.support.server import call, file_at, free_port

SLOW = 30_000  # ms: the cores may be shared
NAMES = ("question", "video", "num_frames", "start", "end", "temperature", "top_p", "max_new_tokens")
GOOD: tuple[Any, ...] = ("What is it?", None, 4, "", "", 0, 1, 4)
NUMBERS, TEXTS, FILE = (
    ("num_frames", "temperature", "top_p", "max_new_tokens"),
    ("question", "start", "end"),
    ("video",),
)
NAN = float("nan")
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(NUMBERS, ([], {"a": 1}, True, "ten", None, -1, 10**300, 1e300, NAN)),
    **dict.fromkeys(TEXTS, ([], {"a": 1}, True, ["What?"], "9" * 900_000)),
    **dict.fromkeys(FILE, ([], {"a": 1}, True, "/etc/passwd", 7, {"path": None}, file_at("/tmp/gradio/none.mp4"))),
    "question": ([], {"a": 1}, True, None, "", "  \n", "what " * 180_000),
}


def refusal(reply: str) -> str:
    """The message of an endpoint's error."""
    assert reply.startswith("event: error\n"), reply[-300:]
    line = json.loads(reply.partition("data: ")[2])["error"]
    assert isinstance(line, str), "an error without words"
    assert "; " in line
    assert "\n" not in line
    assert len(line) < 300
    for word in ("Traceback", "unexpected", "Error", "site-packages", "pydantic"):
        assert word not in line
    return line


def test_wrong_types_for_every_parameter(address: str, clip: Path, server_log: Path) -> None:
    before = len(server_log.read_text())
    path = httpx.post(f"{address}/gradio_api/upload", files={"files": clip.read_bytes()}).json()[0]
    good = dict(zip(NAMES, GOOD, strict=True)) | {"video": file_at(path)}
    sampled = ("video", "num_frames", "start", "end")
    tries = [("chat", {**good, name: value}) for name in NAMES for value in WRONG[name]]
    tries += [
        ("sample_frames", {**{one: good[one] for one in sampled}, name: value})
        for name in sampled
        for value in WRONG[name]
    ]

    def line(one: tuple[str, dict[str, Any]]) -> str:
        return refusal(call_with(address, one[0], json.dumps({"data": list(one[1].values())})))

    with ThreadPoolExecutor(6) as pool:
        lines = list(pool.map(line, tries))
    assert "question is a list; give text" in lines
    assert "num_frames is text; give a number" in lines
    assert "video is a number; give an uploaded file" in lines
    for word in ("Traceback", "what what", "passwd"):
        assert word not in server_log.read_text()[before:]
    assert call(address, "sample_frames", file_at(path), 4, 2, 8.5).startswith("event: complete")  # times as numbers


def call_with(address: str, name: str, body: str) -> str:
    reply = httpx.post(f"{address}/gradio_api/call/{name}", content=body, headers={"Content-Type": "application/json"})
    event = reply.json()["event_id"]
    return httpx.get(f"{address}/gradio_api/call/{name}/{event}", timeout=30).text


def test_too_few_inputs_and_lone_surrogates(address: str) -> None:
    assert refusal(call(address, "chat", "What is it?")) == (
        "there are 1 inputs instead of 8; give all of them, in order"
    )
    body = json.dumps({"data": ["a lone \ud800 surrogate", *GOOD[1:]]})
    assert refusal(call_with(address, "chat", body)).startswith("the text contains invalid Unicode")


def test_malformed_requests_are_refused_without_a_traceback(address: str) -> None:
    for body in (b"", b"{", b"[]", b'{"data": 7}', b'{"data": {}}', b"\xff\xfe"):
        reply = httpx.post(
            f"{address}/gradio_api/call/chat", content=body, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code in (400, 422), (body, reply.text)
        assert "Traceback" not in reply.text


def test_names_and_questions_run_no_script(visit: Visit, clip: Path, tmp_path: Path) -> None:
    """On the page, in saved files, and in the browser's storage."""
    name = "../..\\\"'><img src=x onerror=hit()>\n\u202egpj.clip.mp4"
    question = "</p><script>hit()</script><img src=x onerror=hit()> **[a](javascript:hit())** \u202e\x1b[31m<|im_end|>"
    hits: list[str] = []
    visit.page.expose_function("hit", lambda: hits.append("hit"))
    visit.page.set_input_files(
        "#player input[type=file]", {"name": name, "mimeType": "video/mp4", "buffer": clip.read_bytes()}
    )
    visit.wait_for_frames()
    assert visit.ask(question)
    assert visit.page.inner_text(".turn .question").startswith("</p><script>")
    with visit.page.expect_download() as saved:
        visit.page.click('[data-format="html"]')
    saved.value.save_as(tmp_path / "chat.html")
    assert "/" not in saved.value.suggested_filename
    page = visit.page.context.new_page()
    page.expose_function("hit", lambda: hits.append("hit in the saved page"))
    page.goto((tmp_path / "chat.html").as_uri())
    assert page.inner_text(".question").startswith("</p><script>")
    assert page.locator("script").count() == 0
    visit.page.wait_for_function("localStorage.getItem('longva-chats')")
    visit.open(visit.address)
    visit.page.click(".history > summary")
    visit.page.click(".history-chat summary")
    expect(visit.page.locator(".history-question").first).to_contain_text("</p><script>")
    visit.page.get_by_role("button", name="Go on").click()
    expect(visit.page.locator(".history-hint")).to_be_visible()
    assert hits == []


def test_a_question_that_is_far_too_long_returns_to_its_field(visit: Visit) -> None:
    visit.page.fill("#question textarea", "x" * 100_000)
    visit.page.press("#question textarea", "Enter")
    expect(visit.page.get_by_text("the question has 100,000 characters")).to_be_visible(timeout=SLOW)
    assert len(visit.page.input_value("#question textarea")) == 100_000
    visit.page.fill("#question textarea", "")
    assert visit.ask("What can you see?")


class Fault:
    """An error that the model raises once, `calls` forward passes after it is armed."""

    def __init__(self) -> None:
        self._left, self._error = 0, Exception()

    def arm(self, error: Exception, calls: int) -> None:
        self._left, self._error = calls, error

    def __call__(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            raise self._error


@contextmanager
def faulty() -> Iterator[tuple[str, Fault]]:
    """A page in this process, and its model's fault."""
    engine, fault = LocalEngine(load("tiny"), Settings()), Fault()
    engine.loaded.model.model.layers[-1].register_forward_pre_hook(fault)
    app = build_app(engine, Settings(log="nothing"))
    app.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True)
    try:
        yield app.local_url.rstrip("/"), fault
    finally:
        app.close(verbose=False)


def test_an_error_during_an_answer_is_one_message_and_the_next_answer_works(browser: Browser) -> None:
    """On the page, on a second tab of the same browser, and over HTTP."""
    with faulty() as (address, fault):
        context = browser.new_context()
        visit, other = Visit(context, address), Visit(context, address)
        visit.pick("A rolling circle")
        answer = visit.ask("What shape is it?")
        visit.page.wait_for_function("localStorage.getItem('longva-chats')")  # the model is idle
        for error, line in (
            (RuntimeError("a secret\nof many lines"), "an unexpected RuntimeError occurred; try again"),
            (torch.OutOfMemoryError("CUDA out of memory"), "out of memory with 16 frames; set the budget to 8"),
        ):
            fault.arm(error, 3)
            visit.page.fill("#question textarea", "What colour is it?")
            visit.page.press("#question textarea", "Enter")
            expect(visit.page.get_by_text(line)).to_be_visible(timeout=SLOW)
            expect(visit.page.locator("#question textarea")).to_have_value("What colour is it?")
            assert "secret" not in visit.page.content()
            assert visit.page.inner_text(".turn:last-child .answer") == answer
            visit.page.click(".toast-close")
        visit.page.fill("#question textarea", "")
        assert visit.ask("What colour is it?")
        other.pick("Three shapes")
        assert other.ask("What colour is the star?")
        assert (visit.page.locator(".turn").count(), other.page.locator(".turn").count()) == (2, 1)
        other.page.close()
        visit.page.close()
        fault.arm(RuntimeError("a secret"), 3)
        told = call(address, "chat", *GOOD)
        assert "an unexpected RuntimeError occurred; try again" in told
        assert "secret" not in told
        assert "event: complete" in call(address, "chat", *GOOD)
        context.close()
