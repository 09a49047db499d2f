"""A minimal Hugging Face Hub for one repository on a local port: real HTTP, no network."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK_BYTES = 16 * 1024
MAX_HASHED_BYTES = 64 * 1024**2


@dataclass
class Faults:
    """How the server misbehaves when it sends safetensors files. A test may change it while the server runs.

    Attributes:
        cut_after: close the connection after this many bytes.
        num_cuts: do so this many times; then send everything.
        ends_at: never send a file beyond this position.
        delay_seconds: wait this long before each block of BLOCK_BYTES.
        is_held: send no further block of BLOCK_BYTES until this is False again.
        ignores_ranges: always send the whole file.
        alter: the byte that each block starts with, instead of its own.
    """

    cut_after: int | None = None
    num_cuts: int = 0
    ends_at: int | None = None
    delay_seconds: float = 0.0
    is_held: bool = False
    ignores_ranges: bool = False
    alter: bytes = b""


def etag_of(file: Path) -> str:
    """The SHA-256 of a file's contents, as on the Hub; of a huge (sparse) file, that of its name."""
    with file.open("rb") as contents:
        if file.stat().st_size > MAX_HASHED_BYTES:
            return hashlib.sha256(file.name.encode()).hexdigest()
        return hashlib.file_digest(contents, "sha256").hexdigest()


@contextmanager
def serve_hub(
    folder: Path | None,
    refuse: tuple[int, str] | None = None,
    file_size: int | None = None,
    sent: dict[str, int] | None = None,
    refuse_files: tuple[int, str] | None = None,
    faults: Faults | None = None,
) -> Iterator[str]:
    """Serve the files of `folder` under any repository name, and yield the endpoint.

    Args:
        refuse: respond to every request with this status and X-Error-Code instead.
        file_size: report this size for every file of weights.
        sent: filled with the number of bytes sent per requested path.
        refuse_files: the same as `refuse`, but only for files; the description of the repository is public.
        faults: how weights are sent.
    """
    faults = faults or Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def start_answer(self, status: int, num_bytes: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(num_bytes), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def answer(self, status: int, body: bytes = b"", with_body: bool = True, **headers: str) -> None:
            self.start_answer(status, len(body), **headers)
            if with_body:
                self.wfile.write(body)
            self.count(len(body) if with_body else 0)

        def send_weights(self, body: bytes, first: int) -> None:
            """Send `body`, which starts at position `first` of its file, with the faults."""
            end = len(body) if faults.ends_at is None else min(len(body), max(0, faults.ends_at - first))
            if faults.num_cuts > 0 and faults.cut_after is not None and faults.cut_after < end:
                faults.num_cuts -= 1
                end = faults.cut_after
            self.close_connection = end < len(body)
            for start in range(0, end, BLOCK_BYTES):
                time.sleep(faults.delay_seconds)
                while faults.is_held:
                    time.sleep(0.01)
                block = body[start : min(start + BLOCK_BYTES, end)]
                try:
                    self.wfile.write(faults.alter + block[len(faults.alter) :])
                except OSError:  # the client has given up
                    self.close_connection = True
                    return
                self.count(len(block))

        def count(self, num_bytes: int) -> None:
            if sent is not None:
                sent[self.path] = sent.get(self.path, 0) + num_bytes

        def refuse_with(self, status: int, code: str, with_body: bool) -> None:
            self.answer(status, b"{}", with_body, X_Error_Code=code, X_Error_Message=code)

        def reply(self, with_body: bool) -> None:
            path = self.path.split("?")[0]
            if refuse is not None or folder is None:
                self.refuse_with(*(refuse or (404, "RepoNotFound")), with_body)
            elif "/resolve/" not in path:
                self.answer(200, json.dumps(describe(path)).encode(), with_body, Content_Type="application/json")
            elif refuse_files is not None:
                self.refuse_with(*refuse_files, with_body)
            else:
                self.reply_with_file(folder / path.split("/resolve/")[1].split("/", 1)[1], with_body)

        def reply_with_file(self, file: Path, with_body: bool) -> None:
            if not file.is_file():
                self.refuse_with(404, "EntryNotFound", with_body)
                return
            actual_size = file.stat().st_size
            size = file_size if file_size and file.suffix == ".safetensors" else actual_size
            headers = {"ETag": f'"{etag_of(file)}"', "X_Repo_Commit": COMMIT, "X_Linked_Size": str(size)}
            status, first, end = 200, 0, actual_size
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if span and not faults.ignores_ranges:
                status, first = 206, int(span[1])
                end = min(end, int(span[2]) + 1) if span[2] else end
            if not with_body:
                self.start_answer(status, end - first, **headers)
                self.count(0)
                return
            with file.open("rb") as contents:
                contents.seek(first)
                body = contents.read(end - first)
            if file.suffix != ".safetensors":
                self.answer(status, body, with_body, **headers)
            else:
                self.start_answer(status, len(body), **headers)
                self.send_weights(body, first)

        def do_GET(self) -> None:
            self.reply(with_body=True)

        def do_HEAD(self) -> None:
            self.reply(with_body=False)

        def log_message(self, *_: Any) -> None:
            pass

    def describe(path: str) -> Any:
        assert folder is not None
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
        if "/tree/" in path:
            return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in sizes.items()]
        siblings = [{"rfilename": name} for name in sizes]
        return {"id": "someone/longva", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
