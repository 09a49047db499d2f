"""The endpoints with gradio_client: plain inputs, one call."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.support.server import call, file_at, serving

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def test_sample_frames(client: Client, clip: Path) -> None:
    result = client.predict(handle_file(clip), 5, "2", "0:07", api_name="/sample_frames")
    assert len(result["frames"]) == 5
    assert all(2 <= frame["seconds"] < 7 for frame in result["frames"])
    assert all(frame["index"] == round(frame["seconds"] * 10) for frame in result["frames"])
    assert result["cost"]["num_frames"] == 5
    assert result["cost"]["fits"] is True
    assert result["cost"]["num_tokens"] == 5 * result["cost"]["num_tokens"] // 5 > 0
    assert result["video"]["width"] == 320


def test_sample_frames_has_defaults(client: Client, clip: Path) -> None:
    assert len(client.predict(video=handle_file(clip), api_name="/sample_frames")["frames"]) == 32


def test_chat_streams(client: Client, clip: Path) -> None:
    job = client.submit("What shape is in the video?", handle_file(clip), 8, api_name="/chat")
    answer = job.result(timeout=60)
    outputs = job.outputs()
    assert answer
    assert outputs[-1] == answer
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(outputs))


def test_chat_without_a_video(client: Client) -> None:
    assert client.predict(question="What can you see?", api_name="/chat")


def test_find_streams_what_is_found(client: Client) -> None:
    """The star of the first example is there from the start to the end."""
    job = client.submit("a red star", handle_file(EXAMPLES / "shapes.mp4"), 40, api_name="/find")
    found = job.result(timeout=60)
    outputs = job.outputs()
    assert len(outputs) > 1
    assert outputs[-1] == found
    assert set(found) == {"frames", "ranges"}
    assert [set(frame) for frame in found["frames"]] == [{"index", "seconds", "score"}] * len(found["frames"])
    [whole] = found["ranges"]
    assert set(whole) == {"start", "end", "score", "best"}
    assert whole["start"] == 0
    assert whole["score"] > 0.9
    assert client.predict("a purple cross", handle_file(EXAMPLES / "shapes.mp4"), api_name="/find")["ranges"] == []


@pytest.mark.parametrize(
    ("query", "options", "words"),
    [
        (" ", {}, "nothing to find"),
        ("x" * 301, {}, "301 characters"),
        ("a star", {"precision": 0}, "precision"),
        ("a star", {"window": 1.5}, "window"),
        ("a star", {"num_frames": 0}, "budget"),
    ],
)
def test_a_bad_search_is_one_message(client: Client, clip: Path, query: str, options: dict, words: str) -> None:
    with pytest.raises(AppError, match=words) as caught:
        client.predict(query, handle_file(clip), api_name="/find", **options)
    assert "Traceback" not in str(caught.value)


def test_errors_are_one_message(client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("not a video")
    with pytest.raises(AppError, match=r"notes\.mp4") as caught:
        client.predict(video=handle_file(bad), api_name="/sample_frames")
    assert "Traceback" not in str(caught.value)


def test_no_url_is_fetched(address: str) -> None:
    asked: list[str] = []

    class Neighbour(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as neighbour:
        threading.Thread(target=neighbour.serve_forever, daemon=True).start()
        port = neighbour.server_port
        for file in (
            f"http://127.0.0.1:{port}/clip.mp4",
            f"HTTP://localhost:{port}/a.mp4",
            "https://example.org/a.mp4",
        ):
            for name, inputs in (("sample_frames", [file_at(file)]), ("chat", ["What is it?", file_at(file)])):
                assert "upload the file itself" in call(address, name, *inputs)
        neighbour.shutdown()
    assert asked == []


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "file:///etc/hostname", "/etc/../etc/hostname", "~/.bashrc", __file__]
)
def test_other_files_of_the_server_are_not_read(address: str, path: str) -> None:
    told = call(address, "sample_frames", file_at(path))
    assert "event: error" in told
    assert "Traceback" not in told
    assert '"frames"' not in told


def test_only_these_endpoints_are_public(client: Client) -> None:
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/sample_frames",
        "/words",
        "/chat",
        "/find",
    }


def test_a_password_protects_the_page_and_its_endpoints(tmp_path: Path, clip: Path) -> None:
    with serving(tmp_path / "log", LONGVA_MODEL="tiny", LONGVA_PASSWORD="open sesame") as address:
        for path in ("/config", "/gradio_api/info", "/gradio_api/file=app.py"):
            assert httpx.get(f"{address}{path}").status_code == 401
        assert httpx.post(f"{address}/gradio_api/upload", files={"files": b"x"}).status_code == 401
        data = {"data": ["What is it?"]}
        assert httpx.post(f"{address}/gradio_api/call/chat", json=data).status_code == 401
        with pytest.raises(Exception, match=r"(?i)login|credentials|authent"):
            Client(address, auth=("longva", "a guess"), verbose=False)
        client = Client(address, auth=("longva", "open sesame"), verbose=False)
        assert client.predict(video=handle_file(clip), api_name="/sample_frames")["frames"]
        assert "open sesame" not in (tmp_path / "log").read_text()
