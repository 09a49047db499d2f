"""Files of clients: stored once per content, fetched from allowed hosts only, and never more than fits."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from longva_demo.quotas import QuotaError
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.files import ReceivedFiles

DATA = b"a short file"
TEXT = base64.b64encode(DATA).decode()


def make(free: int = 10**9, hosts: set[str] | None = None) -> ReceivedFiles:
    return ReceivedFiles(lambda _: free, 1000, hosts or set())


@pytest.mark.parametrize("text", [TEXT, f"data:video/mp4;base64,{TEXT}", f" {TEXT[:5]}\n{TEXT[5:]}", TEXT.rstrip("=")])
def test_each_content_is_stored_once(text: str) -> None:
    received = make()
    paths = {received.adopt(received.find(text, {}, "place")) for _ in range(2)}
    assert received.files() == paths
    [path] = paths
    assert path.read_bytes() == DATA
    assert len(list(received.folder.iterdir())) == 1  # nothing partial is left


@pytest.mark.parametrize("text", ["A", "data:video/mp4;base64,%%", "not base64!", "AAAA=AAA"])
def test_what_is_not_base64_leaves_nothing(text: str) -> None:
    received = make()
    with pytest.raises(ApiError, match="not valid base64") as caught:
        received.find(text, {}, "messages[0].content[1]")
    assert caught.value.param == "messages[0].content[1]"
    assert list(received.folder.iterdir()) == []


def test_a_full_storage() -> None:
    received = make(free=3)
    with pytest.raises(QuotaError, match="leave no space"):
        received.find(TEXT, {}, "place")
    assert list(received.folder.iterdir()) == []


@pytest.fixture
def neighbour() -> Iterator[str]:
    """A web server with a file, a large file, and a redirect."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/file")
            elif self.path == "/file" or self.path == "/large":
                self.send_response(200)
            else:
                self.send_response(404)
            self.end_headers()
            self.wfile.write(DATA * (100 if self.path == "/large" else 1))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_of_allowed_hosts_are_fetched(neighbour: str) -> None:
    received = make(hosts={"127.0.0.1"})
    path = received.adopt(received.find(f"{neighbour}/file", {}, "place"))
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("target", "hosts", "status", "words"),
    [
        ("/file", set(), 400, "does not fetch this URL"),
        ("/file", {"localhost"}, 400, "does not fetch this URL"),
        ("/moved", {"127.0.0.1"}, 400, "cannot be fetched"),
        ("/missing", {"127.0.0.1"}, 400, "cannot be fetched"),
        ("/large", {"127.0.0.1"}, 413, "too large"),
    ],
)
def test_others_are_not(neighbour: str, target: str, hosts: set[str], status: int, words: str) -> None:
    received = make(hosts=hosts)
    with pytest.raises(ApiError, match=words) as caught:
        received.find(neighbour + target, {}, "place")
    assert caught.value.status == status
    assert list(received.folder.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "file:/etc/passwd", "ftp://a/b", "FILE://x", "gopher://x:1/_"])
def test_other_schemes_are_refused_even_for_allowed_hosts(url: str) -> None:
    with pytest.raises(ApiError, match="does not fetch this URL"):
        make(hosts={"", "a", "x"}).find(url, {}, "place")


def test_a_deleted_folder_is_made_again() -> None:
    received = make()
    path = received.adopt(received.find(TEXT, {}, "place"))
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    assert received.files() == set()
    assert received.adopt(received.find(TEXT, {}, "place")).read_bytes() == DATA
