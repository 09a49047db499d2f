"""Floods: one address sends twelve kinds of requests without end, while a visitor from another address works.

For each kind it prints how much longer the visitor's preview and question take than on an idle server, and the most
memory that the server used. The flood runs at the lowest priority, since on a real network it would have a machine of
its own. Run it with `python -m bench.flood`; the exit code is 1 if something took more than three times as long, or if
the server's memory grew by more than `LONGVA_MAX_CLIENT_MEMORY_BYTES`.
"""

import argparse
import json
import os
import random
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from bench import rows
from bench.clips import write_clip
from bench.load import figures_of
from bench.tab import Tab

PORT, VISITOR, FLOOD = 7919, "127.0.0.3", "127.0.0.2"
MEMORY = 2**30  # for clients, as on a machine with 4 GB
SETTINGS = {"LONGVA_MODEL": "tiny", "LONGVA_LOG": "nothing", "LONGVA_MAX_CLIENT_MEMORY_BYTES": str(MEMORY)}
ADDRESS = f"http://127.0.0.1:{PORT}"
THREADS = 24
MAX_RATIO = 3.0


class Flood:
    """What one address sends. Each method is one kind of flood, which a thread repeats."""

    def __init__(self, folder: Path) -> None:
        self.outcomes: Counter[str] = Counter()
        self._open: list[socket.socket] = []
        transport = httpx.HTTPTransport(local_address=FLOOD, limits=httpx.Limits(max_connections=None))
        self.http = httpx.Client(base_url=ADDRESS, timeout=120, transport=transport)
        config = self.http.get("/config").json()
        self.events = {event["api_name"]: event["id"] for event in config["dependencies"]}
        self.clip = self.upload((folder / "unplayable.avi").read_bytes(), "clip.avi")
        self.playable = self.upload((folder / "playable.mp4").read_bytes(), "clip.mp4")
        self.picture = self.upload(large_picture(), "large.png")
        self.session, self.token = self.select(self.playable)

    def kinds(self) -> dict[str, Callable[[], None]]:
        return {
            "silent connections": self.silent,
            "headers that trickle": self.trickle,
            "bodies that trickle": self.slow_body,
            "bodies with many values": self.many_values,
            "new sessions": self.sessions,
            "large pictures": self.pictures,
            "uploads without a body": self.announced,
            "uploads of large files": self.large_files,
            "previews": self.previews,
            "downloads that are not read": self.downloads,
            "questions": self.questions,
            "answers that are not read": self.unread,
        }

    def upload(self, content: bytes, name: str) -> dict[str, Any]:
        reply = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        return {"path": reply.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}

    def select(self, file: dict[str, Any]) -> tuple[str, str]:
        """The session that has selected a file, and the token of its frames."""
        session = secrets.token_hex(8)
        self.join("select", [file, None, 32, "", "", "pyav", False, 1.0], session)
        token = ""
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as reply:
            for line in reply.iter_lines():
                if line.startswith("data:") and '"process_completed"' in line:
                    token = json.loads(line.removeprefix("data:"))["output"]["data"][0]["token"]
                    break
        return session, token

    def join(self, name: str, data: list[Any], session: str, event_data: Any = None) -> None:
        event = {"fn_index": self.events[name], "session_hash": session, "data": data, "event_data": event_data}
        self.count(self.http.post("/gradio_api/queue/join", json=event).status_code)

    def count(self, status: int) -> None:
        self.outcomes[
            "refused" if status in (408, 413, 429, 503, 507) else "accepted" if status < 400 else "failed"
        ] += 1

    def connect(self, head: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", PORT), timeout=60, source_address=(FLOOD, 0))
        connection.sendall(head.encode())
        return connection

    def silent(self) -> None:
        with closing(self.connect("")) as connection:
            self.outcomes["accepted"] += 1
            if connection.recv(1) == b"":
                self.outcomes["refused"] += 1

    def trickle(self) -> None:
        with closing(self.connect("GET / HTTP/1.1\r\nHost: here\r\n")) as connection:
            self.outcomes["accepted"] += 1
            with suppress(ConnectionError):
                while True:
                    connection.sendall(b"X: y\r\n")
                    time.sleep(0.5)
            self.outcomes["refused"] += 1

    def slow_body(self) -> None:
        head = "POST /gradio_api/queue/join HTTP/1.1\r\nHost: here\r\nContent-Length: 900000\r\n\r\n"
        with closing(self.connect(head)) as connection, suppress(ConnectionError):
            for _ in range(90):
                connection.sendall(b" " * 9000)
                time.sleep(0.5)
        self.outcomes["refused"] += 1

    def many_values(self) -> None:
        body = b'{"fn_index": 0, "session_hash": "a", "data": [' + b"1," * 490_000 + b"1]}"
        headers = {"Content-Type": "application/json"}
        self.count(self.http.post("/gradio_api/queue/join", content=body, headers=headers).status_code)

    def sessions(self) -> None:
        self.join("meter", [], secrets.token_hex(32))

    def pictures(self) -> None:
        self.join("select", [None, self.picture, 32, "", "", "pyav", False, 1.0], secrets.token_hex(8))

    def announced(self) -> None:
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: here\r\nContent-Length: 4000000000\r\n"
        head += "Content-Type: multipart/form-data; boundary=part\r\n\r\n"
        with closing(self.connect(head)) as connection:
            self.count(int(connection.recv(100).split(b" ")[1]) if connection else 0)

    def large_files(self) -> None:
        content = random.randbytes(50_000_000)
        self.count(self.http.post("/gradio_api/upload", files={"files": ("a.mp4", content)}).status_code)

    def previews(self) -> None:
        self.join("preview", [self.clip, None, 1.0], secrets.token_hex(8), {"ask": 1})

    def downloads(self) -> None:
        head = f"GET /longva/frames/{self.token}/frames.zip HTTP/1.1\r\nHost: here\r\n\r\n"
        with closing(self.connect(head)) as connection:
            self.count(int(connection.recv(100).split(b" ")[1]))
            time.sleep(30)

    def questions(self) -> None:
        data = {"data": ["What is in the video?", self.playable, random.randint(64, 128), "", "", 0, 1, 256]}
        self.count(self.http.post("/gradio_api/call/chat", json=data).status_code)

    def unread(self) -> None:
        fields = [self.playable, None, 32, "", "", "pyav", False]
        self.join("ask", ["Describe all that happens.", *fields, 0, 1, 1024, 1.0], secrets.token_hex(8))


def large_picture() -> bytes:
    """A PNG of 10,000 × 10,000 black pixels of one bit, 12 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + 1250) * 10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def flood(kind: str, folder: str) -> None:
    """Send one kind of flood, in this process, and print the outcomes."""
    os.nice(19)
    sender = Flood(Path(folder))
    send = sender.kinds()[kind]
    print("ready", flush=True)

    def repeat() -> None:
        while True:
            try:
                send()
            except (httpx.HTTPError, OSError, IndexError, ValueError):
                sender.outcomes["refused"] += 1  # the connection was closed

    for _ in range(THREADS):
        threading.Thread(target=repeat, daemon=True).start()
    sys.stdin.read()  # until it is closed
    print(json.dumps(sender.outcomes), flush=True)
    os._exit(0)  # some threads wait for the server


def visit(folder: Path, number: int) -> tuple[float, float]:
    """Seconds of a preview, and of a question about frames that are sampled for it, in a new tab."""
    with closing(Tab(ADDRESS, 32, 300, VISITOR)) as tab:
        started = time.monotonic()
        tab.preview(tab.upload(folder / "unplayable.avi"))
        seen = time.monotonic()
        clip = folder / f"own-{number}.mp4"
        clip.write_bytes((folder / "playable.mp4").read_bytes() + secrets.token_bytes(8))
        file = tab.upload(clip)
        tab.select(file)
        assert tab.ask("What is in the video?", file)["answer"]
        return seen - started, time.monotonic() - seen


def start() -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(PORT)], env={**os.environ, **SETTINGS}, stdout=subprocess.DEVNULL
    )
    figures_of(ADDRESS)
    return server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="KIND", help="one kind of flood")
    parser.add_argument("--visits", type=int, default=3, help="of the other visitor, during each flood")
    parser.add_argument("--send", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        flood(*options.send)
    with tempfile.TemporaryDirectory() as name:
        write_clip(Path(name, "playable.mp4"), 10, 25, 640, 360)
        write_clip(Path(name, "unplayable.avi"), 10, 25, 640, 360, "mpeg4")
        server = start()
        try:
            return run(Path(name), server.pid, options.visits, options.only)
        finally:
            server.terminate()
            server.wait(60)


def run(folder: Path, pid: int, num_visits: int, only: str | None) -> int:
    visit(folder, 0)
    idle = [median(times) for times in zip(*(visit(folder, number) for number in range(num_visits)), strict=True)]
    process = psutil.Process(pid)
    before = process.memory_info().rss
    failed = []
    sender = Flood(folder)
    for kind in [only] if only else sender.kinds():
        command = [sys.executable, "-m", "bench.flood", "--send", kind, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flooding:
            assert flooding.stdin is not None
            assert flooding.stdout is not None
            assert flooding.stdout.readline() == "ready\n", f"the flood of {kind} did not start"
            time.sleep(5)
            peak, times = 0, []
            for number in range(num_visits):
                times.append(visit(folder, number))
                peak = max(peak, process.memory_info().rss)
            flooding.stdin.close()
            outcomes = json.loads(flooding.stdout.readline())
        ratios = [median(column) / base for column, base in zip(zip(*times, strict=True), idle, strict=True)]
        what = f"flood of {kind} ({outcomes.get('accepted', 0):,} accepted, {outcomes.get('refused', 0):,} refused)"
        during = f"preview {ratios[0]:.1f} ×, question {ratios[1]:.1f} ×"
        rows.add(
            what, f"idle: preview {idle[0]:.1f} s, question {idle[1]:.1f} s", during, f"{(peak - before) / 1e6:+.0f} MB"
        )
        if max(ratios) > MAX_RATIO or peak > before + MEMORY:
            failed.append(kind)
        time.sleep(60)  # the rate limits of the flood's address
    print(f"FAILED: {', '.join(failed)}" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
