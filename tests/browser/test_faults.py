"""Uploads that are too large, a full disk, a restarted server: one message each, and neither chat nor page breaks."""

import contextlib
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from longva_demo.server.stale_tab import SERVER_HEADER
from tests.support.browser import Visit
from tests.support.server import free_port, start_server

MIB = 1024**2
MAX_UPLOAD, MAX_FILE = 40 * MIB, 24 * MIB
LOST = "Connection to the server was lost"
SERVER = re.compile(r'const server = \\?"')
SLOW = 30_000  # ms: the cores may be shared


class Server:
    """A server with an upload limit of 40 MiB and a file size limit of 24 MiB, which acts like a full disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uploads = folder / "uploads"
        self._log = folder / "log"
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        variables = {"LONGVA_MAX_FILE_BYTES": str(MAX_UPLOAD), "GRADIO_TEMP_DIR": str(self.uploads)}
        self._process = start_server(self._log, self.port, "--model", "tiny", max_file_bytes=MAX_FILE, **variables)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stored_uploads(self) -> list[str]:
        """Names of the stored uploads."""
        return [path.name for path in self.uploads.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("faults"))
    yield server
    server.kill()


def begin_upload(server: Server, path: str, *headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    form = 'Content-Type: multipart/form-data; boundary="XX"'
    connection.sendall("\r\n".join([f"POST {path} HTTP/1.1", "Host: here", form, *headers, "", ""]).encode())
    return connection


PART = b'--XX\r\nContent-Disposition: form-data; name="files"; filename="clip.mp4"\r\n\r\n'
BLOCK = bytes(MIB)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_an_upload_with_too_large_a_content_length_is_not_read(server: Server) -> None:
    before = server.stored_uploads()
    with begin_upload(server, "/gradio_api/upload", f"Content-Length: {MAX_UPLOAD + MIB}") as connection:
        reply = b"".join(iter(lambda: connection.recv(1000), b"")).decode()  # without sending the body
    assert " 413 " in reply.splitlines()[0]
    assert reply.endswith("the file exceeds the limit of 42 MB; upload a smaller one")
    assert server.stored_uploads() == before


def test_an_upload_of_unknown_size_is_cut_off(server: Server) -> None:
    before, sent = server.stored_uploads(), 0
    with (
        begin_upload(server, "/gradio_api/upload", "Transfer-Encoding: chunked") as connection,
        contextlib.suppress(OSError),  # the server closed the connection
    ):
        connection.sendall(chunk(PART + BLOCK + b"\r\n--XX--\r\n"))  # more follows after the form
        while sent < 4 * MAX_UPLOAD:
            connection.sendall(chunk(BLOCK))
            sent += MIB
    assert MAX_UPLOAD - MIB <= sent < 2 * MAX_UPLOAD
    assert wait_for(lambda: server.stored_uploads() == before)


def test_an_aborted_upload_leaves_no_file(server: Server) -> None:
    before = server.stored_uploads()
    with begin_upload(server, "/gradio_api/upload", f"Content-Length: {8 * MIB}") as connection:
        connection.sendall(PART + 4 * BLOCK)
        assert wait_for(lambda: server.stored_uploads() != before), "the upload did not arrive at all"
    assert wait_for(lambda: server.stored_uploads() == before)


def wait_for(condition: object) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not (found := bool(condition())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_the_disabled_recorder_stores_nothing(server: Server) -> None:
    """Gradio's screen recorder would store each file that it is sent."""
    reply = httpx.post(f"{server.address}/gradio_api/process_recording", files={"video": ("a.mp4", b"x")})
    assert reply.status_code == 404
    reply = httpx.post(f"{server.address}/gradio_api/call/chat", content=b" " * (9 * MIB))
    assert reply.status_code == 413


def test_a_full_disk_is_one_message_and_the_next_upload_works(
    server: Server, browser: Browser, tmp_path: Path, clip: Path
) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(MAX_FILE + MIB))
    visit = Visit(browser.new_context(), server.address)
    visit.pick("A rolling circle")
    visit.ask("What shape is it?")
    visit.upload(large)
    expect(visit.page.get_by_text("the server cannot store the upload (File too large)")).to_be_visible(timeout=SLOW)
    assert visit.page.locator(".turn").count() == 1
    assert not [name for name in server.stored_uploads() if name.startswith("tmp")]
    visit.upload(clip)
    visit.wait_for_frames()
    assert visit.ask("What shape is it?")
    assert visit.page.locator(".turn").count() == 2
    visit.page.context.close()


def test_the_chat_and_the_question_survive_a_restart_of_the_server(
    server: Server, browser: Browser, clip: Path
) -> None:
    visit = Visit(browser.new_context(), server.address)
    visit.upload(clip)
    visit.wait_for_frames()
    answer = visit.ask("What shape is it?")
    visit.page.wait_for_function("localStorage.getItem('longva-chats')")
    server.kill()
    visit.page.fill("#question textarea", "And which colour?")
    visit.page.press("#question textarea", "Enter")
    expect(visit.page.get_by_text(LOST)).to_be_visible(timeout=SLOW)
    server.start()  # without the uploads of the one that was killed
    said = visit.page.locator(".chat-restarted")
    expect(said).to_contain_text("The server was restarted. Choose the video again")
    expect(visit.page.locator("#about .problem")).to_contain_text("The server no longer has")
    expect(visit.page.locator("#question textarea")).to_have_value("And which colour?")
    visit.page.click(".history-chat summary")
    expect(visit.page.locator(".history-answer").first).to_have_text(answer)
    visit.upload(clip)
    visit.wait_for_frames()
    expect(said).to_be_hidden()
    visit.page.press("#question textarea", "Enter")
    assert visit.wait_for_answer(1)
    visit.page.context.close()


def page_goes_on(visit: Visit, question: str, answer: str) -> None:
    """The page has reloaded itself, with its file and its chat, and the question is in its field."""
    expect(visit.page.locator(".turn .answer")).to_have_text(answer)
    expect(visit.page.locator(".turn .stats")).to_have_text("from an earlier visit")
    expect(visit.page.locator("#question textarea")).to_have_value(question)
    visit.wait_for_frames()


def test_a_stale_tab_is_not_treated_as_a_new_visitor(browser: Browser, address: str) -> None:
    """It was idle and did not notice the restart. Its next question would have replaced the chat."""
    page = browser.new_context().new_page()
    loads: list[str] = []

    def from_an_earlier_server(route: Route) -> None:
        body = route.fetch().text()
        assert SERVER.search(body)
        loads.append(page.url)
        route.fulfill(body=SERVER.sub(r"\g<0>0", body) if len(loads) == 1 else body)

    page.route(f"{address}/", from_an_earlier_server)
    page.goto(address)
    page.wait_for_selector(".film")
    page.fill("#question textarea", "What is this?")
    page.press("#question textarea", "Enter")
    expect(page.locator(".chat-restarted")).to_be_visible(timeout=SLOW)  # on the reloaded page
    expect(page.locator("#question textarea")).to_have_value("What is this?", timeout=SLOW)
    assert len(loads) == 2
    page.press("#question textarea", "Enter")
    page.wait_for_selector(".turn:last-child .stats:not(:empty)")
    page.context.close()


def test_a_terminated_server_leaves_no_files_and_those_of_a_killed_one_are_deleted(
    browser: Browser, tmp_path: Path, clip: Path
) -> None:
    """docker stop and systemd send SIGTERM. A page is open, with an upload and its frames."""

    def kept() -> list[str]:
        return [path.name for path in tmp_path.rglob("*") if path.is_file()]

    for end, left in ((signal.SIGKILL, True), (signal.SIGTERM, False)):
        port = free_port()
        process = start_server(tmp_path.with_suffix(".log"), port, "--model", "tiny", TMPDIR=str(tmp_path))
        assert "pixels.bin" not in kept()
        visit = Visit(browser.new_context(), f"http://127.0.0.1:{port}")
        visit.upload(clip)
        visit.wait_for_frames()
        assert wait_for(lambda: "pixels.bin" in kept())
        process.send_signal(end)
        code = process.wait(60)
        assert code == (-signal.SIGKILL if left else 0)
        assert bool(kept()) == left
        visit.page.context.close()


def test_only_stale_tabs_are_refused(address: str) -> None:
    question = {"data": ["What is it?", None, 4, "", "", 0, 1, 4]}
    join = f"{address}/gradio_api/call/chat"
    assert httpx.post(join, json=question, headers={SERVER_HEADER: "another"}).status_code == 409
    assert httpx.post(join, json=question).status_code == 200
