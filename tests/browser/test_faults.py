"""What is too large, a full disk, a server that was restarted: one line each; the chat is kept, the next one works."""

import contextlib
import re
import signal
import socket
import subprocess
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
    """A server whose uploads end at 40 MiB, and whose disk, for a single file, at 24 MiB; it can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uploads = folder / "uploads"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes]
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

    def kept(self) -> list[str]:
        """Names of the files that lie among the uploads."""
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


def test_an_upload_that_says_it_is_too_large_is_not_read(server: Server) -> None:
    before = server.kept()
    with begin_upload(server, "/gradio_api/upload", f"Content-Length: {MAX_UPLOAD + MIB}") as connection:
        reply = b"".join(iter(lambda: connection.recv(1000), b"")).decode()  # no byte of the body was sent
    assert " 413 " in reply.splitlines()[0]
    assert reply.endswith("more than the 42 MB that are allowed; send a smaller file")
    assert server.kept() == before


def test_an_upload_of_unknown_size_is_cut_off(server: Server) -> None:
    """Many small files, so that no single one is too large."""
    before, sent = server.kept(), 0
    with (
        begin_upload(server, "/gradio_api/upload", "Transfer-Encoding: chunked") as connection,
        contextlib.suppress(OSError),  # it hung up
    ):
        while sent < 4 * MAX_UPLOAD:
            connection.sendall(chunk(PART + BLOCK + b"\r\n"))
            sent += MIB
    assert MAX_UPLOAD - MIB <= sent < 2 * MAX_UPLOAD
    assert wait_for(lambda: server.kept() == before)


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    before = server.kept()
    with begin_upload(server, "/gradio_api/upload", f"Content-Length: {8 * MIB}") as connection:
        connection.sendall(PART + 4 * BLOCK)
        assert wait_for(lambda: server.kept() != before), "the upload did not arrive at all"
    assert wait_for(lambda: server.kept() == before)


def wait_for(condition: object) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not (found := bool(condition())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_what_this_page_does_not_have_takes_nothing(server: Server) -> None:
    """Gradio's screen recorder would keep each file that is sent to it."""
    reply = httpx.post(f"{server.address}/gradio_api/process_recording", files={"video": ("a.mp4", b"x")})
    assert reply.status_code == 404
    reply = httpx.post(f"{server.address}/gradio_api/call/chat", content=b" " * (9 * MIB))
    assert reply.status_code == 413


def test_a_full_disk_is_one_line_and_the_next_upload_works(
    server: Server, browser: Browser, tmp_path: Path, clip: Path
) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(MAX_FILE + MIB))
    visit = Visit(browser.new_context(), server.address)
    visit.pick("A rolling circle")
    visit.ask("What shape is it?")
    visit.upload(large)
    expect(visit.page.get_by_text("the upload cannot be kept (File too large)")).to_be_visible(timeout=SLOW)
    assert visit.page.locator(".turn").count() == 1
    assert not [name for name in server.kept() if name.startswith("tmp")]
    visit.upload(clip)
    visit.wait_for_frames()
    assert visit.ask("What shape is it?")
    assert visit.page.locator(".turn").count() == 2
    visit.page.context.close()


def test_a_restarted_server_finds_the_chat_and_the_question_again(server: Server, browser: Browser) -> None:
    visit = Visit(browser.new_context(), server.address)
    visit.pick("A rolling circle")
    answer = visit.ask("What shape is it?")
    visit.page.wait_for_function("localStorage.getItem('longva-chats')")
    server.kill()
    visit.page.fill("#question textarea", "And which colour?")
    visit.page.press("#question textarea", "Enter")
    expect(visit.page.get_by_text(LOST)).to_be_visible(timeout=SLOW)
    server.start()
    page_says_restarted(visit, "And which colour?", answer)
    visit.pick("A rolling circle")
    visit.page.press("#question textarea", "Enter")
    assert visit.wait_for_answer(1)
    visit.page.context.close()


def page_says_restarted(visit: Visit, question: str, answer: str) -> None:
    """The page came back by itself: one line, the question in its field, the earlier chat below it."""
    expect(visit.page.locator(".chat-restarted")).to_be_visible(timeout=SLOW)
    expect(visit.page.locator(".chat-restarted")).to_contain_text("The server was restarted. Choose the video again")
    expect(visit.page.locator("#question textarea")).to_have_value(question, timeout=SLOW)
    visit.page.click(".history-chat summary")
    expect(visit.page.locator(".history-answer").first).to_have_text(answer)


def test_a_page_of_an_earlier_server_is_not_taken_for_a_new_visitor(browser: Browser, address: str) -> None:
    """It did not notice the restart: nothing was on its way. Its next question would have wiped out the chat."""
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
    expect(page.locator(".chat-restarted")).to_be_visible(timeout=SLOW)  # on the page that was loaded anew
    expect(page.locator("#question textarea")).to_have_value("What is this?", timeout=SLOW)
    assert len(loads) == 2
    page.press("#question textarea", "Enter")
    page.wait_for_selector(".turn:last-child .stats:not(:empty)")
    page.context.close()


def test_a_terminated_server_leaves_nothing_and_a_killed_one_is_tidied_up_after(
    browser: Browser, tmp_path: Path, clip: Path
) -> None:
    """SIGTERM is what docker stop and systemd send. A page is open meanwhile, with its upload and its frames."""

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


def test_only_pages_of_an_earlier_server_are_turned_away(address: str) -> None:
    question = {"data": ["What is it?", None, 4, "", "", 0, 1, 4]}
    join = f"{address}/gradio_api/call/chat"
    assert httpx.post(join, json=question, headers={SERVER_HEADER: "another"}).status_code == 409
    assert httpx.post(join, json=question).status_code == 200
