"""A real server among listening neighbours. test_network.py runs these tests in a network namespace of their own.

After each test nothing may have been sent, except between the test's client and the server, and no file outside the
server's folders may have been opened.
"""

import http.client
import itertools
import json
import mimetypes
import os
import socket
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.server.isolated_inputs import (
    HEADERS,
    LOCAL,
    META,
    NAMES,
    SLOW,
    URL,
    URLS,
    fields_of,
    file_values,
    handlers,
    outside_files,
)
from tests.support.clips import write_clip
from tests.support.network import CLIENT, SECRET, Neighbours, Packets, Watch, claim_all_addresses
from tests.support.references import containers, pictures, playlists, texts
from tests.support.routes import app_routes
from tests.support.server import APP, REPOSITORY, free_port, start_server

Send = Callable[..., str]


@dataclass
class World:
    """The server, and everything that notices what it does."""

    address: str
    port: int
    outside: Path  # a folder with files that no visitor may read
    roots: tuple[Path, ...]  # whose files the server may open
    record: Path  # a folder
    packets: Packets
    watch: Watch
    read: Counter[Path] = field(default_factory=Counter)  # lines of each file of the record
    replies: list[str] = field(default_factory=list)

    def new_events(self) -> list[tuple[str, Any]]:
        """What Python code of the server has opened since the last call."""
        events = []
        for file in self.record.iterdir():
            lines = file.read_bytes().splitlines()[self.read[file] :]
            self.read[file] += len(lines)
            events += [tuple(json.loads(line)) for line in lines]
        return events

    def is_inside(self, path: str) -> bool:
        file = Path(os.path.normpath(REPOSITORY / path))
        return any(file.is_relative_to(root) or file.resolve().is_relative_to(root) for root in self.roots)

    def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: str = "", seconds: float = 1.0
    ) -> str:
        """The status and the body of a reply; of a stream, what comes within `seconds`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, seconds, source_address=(CLIENT, 0))
        parts = []
        try:
            connection.putrequest(method, target, skip_host="Host" in (headers or {}))
            sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body.encode())
            reply = connection.getresponse()
            parts.append(f"{reply.status} {reply.headers}".encode())
            while part := reply.read1(2**20):
                parts.append(part)
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        text = b"".join(parts).decode(errors="replace")
        self.replies.append(text)
        return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    claim_all_addresses()
    packets = Packets()
    Neighbours()
    folder = tmp_path_factory.mktemp("world")
    outside, inside, record = folder / "outside", folder / "inside", folder / "record"
    for one in (outside, inside, record):
        one.mkdir()
    write_clip(outside / "clip.mp4", seconds=1)
    for name in ("secret.txt", "state.json", "secret.svg"):
        (outside / name).write_text(f'["{SECRET}"]')
    port = free_port()
    # The server may open its own code and examples, Python, what the system says about itself, and its folder.
    python = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    own = (REPOSITORY / "longva_demo", REPOSITORY / "examples", inside, Path("/proc"), Path("/sys"), Path("/dev"))
    roots = {Path(one).resolve() for one in (*python, *own, *mimetypes.knownfiles)} | set(map(Path, python))
    server = start_server(
        folder / "log",
        port,
        program=APP,  # in a process that Python starts, so that sitecustomize.py runs
        PYTHONPATH=str(REPOSITORY / "tests" / "support" / "audit"),
        AUDIT_RECORD=str(record),
        TMPDIR=str(inside),
        GRADIO_TEMP_DIR=str(inside / "uploads"),
        HF_HUB_OFFLINE="0",
        LONGVA_MODEL="tiny",
        LONGVA_MAX_EVENTS_PER_MINUTE="100000",
        LONGVA_MAX_QUESTIONS_PER_MINUTE="100000",
    )
    world = World(f"http://127.0.0.1:{port}", port, outside, tuple(roots), record, packets, Watch(outside))
    started = packets.seen()
    assert started == {f"tcp 127.0.0.1 {port}"}, "the server connected to others while it started"
    world.new_events()
    yield world
    server.terminate()
    server.wait(20)


@pytest.fixture(autouse=True)
def nothing_is_fetched(world: World) -> Iterator[None]:
    """After each test: no packet, no name, no file outside, no other program."""
    yield
    events, packets = world.new_events(), world.packets.seen()
    wrong = []
    for event, seen in events:
        if event == "subprocess.Popen":
            is_right = seen[1][0] == sys.executable and "longva_demo.video._worker.fork_server" in seen[1]
        elif event == "socket.sendmsg":
            is_right = seen is None  # to the fork server; `socket.connect` tells where others lead
        elif event == "os.listdir" and seen == str(REPOSITORY):
            is_right = True  # Python looks for modules
        elif event in ("open", "os.listdir", "os.scandir"):
            is_right = seen is None or world.is_inside(seen)
        else:
            is_right = False
        if not is_right:
            wrong.append((event, seen))
    assert wrong == []
    assert packets == set()
    assert not world.watch.was_opened()
    assert [reply for reply in world.replies if SECRET in reply] == []
    world.replies.clear()


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(local_address=CLIENT)
    with httpx.Client(base_url=world.address, transport=transport, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def upload(client: httpx.Client) -> Callable[[dict[str, bytes]], list[str]]:
    """Uploads files, and returns their paths on the server."""

    def send(files: dict[str, bytes]) -> list[str]:
        replies = [client.post("/gradio_api/upload", files=[("files", file)]) for file in files.items()]
        return [reply.json()[0] for reply in replies]

    return send


@pytest.fixture(scope="module")
def send(client: httpx.Client, world: World) -> Send:
    """Sends an event of the page, and returns the text of what follows."""
    numbers = itertools.count()

    def send(fn_index: int, data: Sequence[Any], event_data: Any = None) -> str:
        session = f"session-{next(numbers)}"
        body = {"fn_index": fn_index, "data": list(data), "event_data": event_data, "session_hash": session}
        joined = client.post("/gradio_api/queue/join", json=body)
        text = joined.text
        if joined.status_code == 200:
            text += client.get("/gradio_api/queue/data", params={"session_hash": session}).text
        world.replies.append(text)
        return text

    return send


def test_what_is_sent_or_opened_is_noticed(world: World) -> None:
    """By this process and by a child of the server's kind; otherwise the other tests would prove nothing."""
    file = world.outside / "secret.txt"
    code = f"import socket; socket.create_connection(('intranet.example', 80)); open({str(file)!r})"
    environment = {"PYTHONPATH": str(REPOSITORY / "tests/support/audit"), "AUDIT_RECORD": str(world.record)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)
    for host in ("169.254.169.254", "100.64.0.7", "::ffff:10.0.0.7", "fd00::7"):
        with socket.create_connection((host, 80), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.makefile().read().endswith(SECRET)
    seen = world.packets.seen()
    assert {"tcp 169.254.169.254 80", "tcp 100.64.0.7 80", "tcp 10.0.0.7 80", "tcp fd00::7 80"} < seen
    assert "tcp 93.184.216.34 80" in seen or "tcp 2606:2800:21f:cb07::1 80" in seen
    assert any(packet.startswith("udp ") and packet.endswith(" 53") for packet in seen)
    assert world.watch.was_opened()
    events = world.new_events()
    assert ("open", str(file)) in events
    assert ("socket.getaddrinfo", "intranet.example") in events
    assert any(event == "socket.connect" for event, _ in events)


def test_files_of_events(world: World, client: httpx.Client, send: Send, upload: Callable[..., list[str]]) -> None:
    """Every event that takes a file, with addresses and files outside in each field and in every place of it."""
    (own,) = upload({"notes.mp4": b"no video"})
    kinds, events = handlers(client)
    shapes = file_values(str(world.outside / "clip.mp4"), own)
    more = [
        *file_values(URL, own),
        *({"path": link, "meta": META} for link in (*URLS, *outside_files(world.outside, own))),
    ]
    tries = []
    for event in events:
        for place, component in enumerate(event["inputs"]):
            if kinds[component] in ("file", "video", "image"):
                for value in (*shapes, *(more if event["api_name"] == "chat" else ())):
                    fields = fields_of(event, kinds, None, "", 8)
                    fields[place] = value
                    tries.append((event["id"], fields, {"ask": 1}))
    assert len(tries) == 11 * len(shapes) + len(more)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: send(*one), tries))
    assert all("process_completed" in reply for reply in replies)


def test_texts_and_data_of_events(world: World, client: httpx.Client, send: Send) -> None:
    """Every event of the page and the API, with addresses as texts, as numbers and as the event's data."""
    kinds, events = handlers(client)
    record = json.dumps({"format": "longva-demo chat", "version": 5, "video": {"path": URL, "name": URL}})
    data = {
        **dict.fromkeys(("question", "record", "format", "path", "url", "value", "file"), URL),
        **dict.fromkeys(("number", "ask", "index"), 1),
    }
    tries = []
    for event in events:
        for text in (URL, f"![a]({URL}) [b]({URL}) <img src={URL}> file://{world.outside}/secret.txt"):
            number = URL if event["api_name"] in SLOW else 1
            tries.append((event["id"], fields_of(event, kinds, None, text, number), {**data, "record": record}))
            tries.append((event["id"], fields_of(event, kinds, None, text, URL), {"path": text, "meta": META}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: send(*one), tries))


def test_files_of_programs(world: World) -> None:
    """Every part of a request to the OpenAI-compatible API that can name a file, with addresses and files outside."""
    links = [*URLS, *outside_files(world.outside, str(world.outside / "notes.mp4"))]
    tries = []
    for link in links:
        nested = {"url": link, "data": link, "file_data": link, "file_id": link, "path": link}
        for kind in ("image_url", "video_url", "input_image", "input_video", "image", "video", "file", "input_file"):
            for part in ({"type": kind, kind: link}, {"type": kind, kind: nested}, {"type": kind, **nested}):
                message = {"role": "user", "content": [part, {"type": "text", "text": link}]}
                tries.append(("/v1/chat/completions", {"messages": [message]}))
                tries.append(("/v1/responses", {"input": [message]}))
    assert len(tries) == 48 * len(links)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: world.request("POST", one[0], body=json.dumps(one[1])), tries))
    assert {reply.partition(" ")[0] for reply in replies} == {"400"}


def test_answers_with_links(world: World, client: httpx.Client) -> None:
    """Questions with Markdown, in a chat that the page renders."""
    for question in (f"![circle]({URL})", f"What is at {URL}?", f"<img src='{URL}'>", f"[a]: {URL}\n[a]"):
        inputs = [question, None, 4, "", "", 0, 1, 8]
        event = client.post("/gradio_api/call/chat", json={"data": inputs}).json()["event_id"]
        reply = client.get(f"/gradio_api/call/chat/{event}").text
        assert "event: complete" in reply
        world.replies.append(reply)


def test_routes(world: World, upload: Callable[..., list[str]]) -> None:
    """Every route of the app, with addresses and files outside as parts of its path, as its query and as its body."""
    (own,) = upload({"state.json": b"{}"})
    up = "../" * 9
    links = [
        "http://10.0.0.7/a.mp4",
        "https://huggingface.co/a.mp4",
        "//8.8.8.8/a.mp4",
        f"file://{world.outside}/secret.txt",
    ]
    links += [
        f"{world.outside}/state.json",
        f"{up}{world.outside}/secret.txt",
        f"{Path(own).parent}/{up}{world.outside}/secret.svg",
    ]
    requests = set()
    for route in app_routes():
        queries = [one.name for one in route.dependant.query_params] if isinstance(route, APIRoute) else []
        for link in links:
            for part in (link, quote(link, safe="")):
                start = route.path.replace("{", "\0{").split("\0")
                target = start[0] + "".join(part + one.partition("}")[2] for one in start[1:])
                query = "&".join(f"{name}={quote(link, safe='')}" for name in (*queries, "url", "file", "path"))
                for method in sorted(route.methods):
                    requests.add((method, target.replace(" ", "%20")))
                    requests.add((method, f"{route.path.replace('{', '').replace('}', '')}?{query}"))
    requests |= {("GET", f"/?deep_link={quote(one)}") for one in links} | {("GET", link) for link in URLS[:6]}
    assert len(requests) > 1000
    body = json.dumps({"data": [URL], "fn_name": "preprocess", "component_id": 1, "session_hash": URL, "path": URL})

    def ask(request: tuple[str, str]) -> str:
        return world.request(*request, body=body if request[0] == "POST" else "")

    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(ask, sorted(requests)))
    assert sum(reply.startswith("200 ") for reply in replies) > 10


def test_headers(world: World) -> None:
    host, forwarded = "10.0.0.7:8080", f"for={URL};host=10.0.0.7;proto=http"
    tries = (("GET", "/", host), *itertools.product(("GET",), ("/config",), (URL, host, forwarded)))
    tries += (("POST", "/gradio_api/queue/join", URL), ("POST", "/gradio_api/queue/join", host))
    requests = [(method, target, {name: value}) for method, target, value in tries for name in HEADERS]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: world.request(*one, seconds=60.0), requests))
    assert sum(reply.startswith("200 ") for reply in replies) > len(requests) / 2


def test_references_in_files(
    world: World, client: httpx.Client, upload: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Playlists, scripts, subtitles, videos and pictures that refer to a neighbour, or to a file outside."""
    clip = write_clip(tmp_path / "clip.mp4", seconds=1).read_bytes()
    file = str(world.outside / "clip.mp4")
    videos, stills = containers(URL, clip), pictures(URL, tmp_path)
    local = {f"local-{name}": content for name, content in (playlists(file) | containers(file, clip)).items()}
    files = texts(URL) | playlists(URL) | videos | stills | dict.fromkeys(NAMES, clip)
    files |= {name: content for name, content in local.items() if name.partition("-")[2] in (*playlists(file), *LOCAL)}

    def ask(path: str) -> str:
        inputs = ["What is it?", {"path": path, "meta": META}, 2, "", "", 0, 1, 1]
        event = client.post("/gradio_api/call/chat", json={"data": inputs}).json()["event_id"]
        return client.get(f"/gradio_api/call/chat/{event}").text

    with ThreadPoolExecutor(2) as pool:
        replies = dict(zip(files, pool.map(ask, upload(files)), strict=True))
    world.replies.extend(replies.values())
    opened = {name for name, reply in replies.items() if "event: complete" in reply}
    refused = {name: reply for name, reply in replies.items() if name not in opened}
    assert [reply for reply in refused.values() if "; " not in reply or "crashed" in reply] == []
    # What they refer to is not needed to show them, or it is in the file too.
    assert opened == (set(videos) | set(stills) | set(NAMES) | {"local-url.mp4", "local-next.mkv"}) - {
        "alias.mov",
        "movie.mov",
        "outside.heic",
    }


def test_references_in_files_with_the_other_decoder(
    send: Send, client: httpx.Client, upload: Callable[..., list[str]], tmp_path: Path
) -> None:
    """decord has an FFmpeg of its own, which knows all playlists and protocols."""
    kinds, events = handlers(client)
    (select,) = (event for event in events if event["api_name"] == "select")
    clip = write_clip(tmp_path / "clip.mp4", seconds=1).read_bytes()
    files = {name: containers(URL, clip)[name] for name in ("url.mp4", *LOCAL)}
    files |= {name: text for name, text in playlists(URL).items() if name.startswith("media-hls")}
    for path in upload(files):
        fields = fields_of(select, kinds, None, "", 2)
        fields[0] = {"path": path, "meta": META}
        fields[-2] = "decord"
        assert "process_completed" in send(select["id"], fields)
