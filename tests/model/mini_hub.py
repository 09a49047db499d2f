"""A minimal Hugging Face Hub for one repository on a local port: real HTTP, no network."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve_hub(
    folder: Path | None,
    refuse: tuple[int, str] | None = None,
    file_size: int | None = None,
    sent: dict[str, int] | None = None,
) -> Iterator[str]:
    """Serve the files of `folder` under any repository name, and yield the endpoint.

    Args:
        refuse: respond to every request with this status and X-Error-Code instead.
        file_size: report this size for every file.
        sent: filled with the number of bytes sent per requested path.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: bytes = b"", with_body: bool = True, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if sent is not None:
                sent[self.path] = sent.get(self.path, 0) + (len(body) if with_body else 0)
            if with_body:
                self.wfile.write(body)

        def reply(self, with_body: bool) -> None:
            path = self.path.split("?")[0]
            if refuse is not None or folder is None:
                status, code = refuse or (404, "RepoNotFound")
                self.answer(status, b"{}", with_body, X_Error_Code=code, X_Error_Message=code)
            elif "/resolve/" in path:
                file = folder / path.split("/resolve/")[1].split("/", 1)[1]
                if not file.is_file():
                    self.answer(404, b"{}", with_body, X_Error_Code="EntryNotFound")
                    return
                body = file.read_bytes()
                etag = f'"{hashlib.sha256(body).hexdigest()}"'
                status = 200
                if span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                    status, body = 206, body[int(span[1]) : int(span[2]) + 1]
                self.answer(status, body, with_body, ETag=etag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")
            else:
                self.answer(200, json.dumps(describe(path)).encode(), with_body, Content_Type="application/json")

        def do_GET(self) -> None:
            self.reply(with_body=True)

        def do_HEAD(self) -> None:
            self.reply(with_body=False)

        def log_message(self, *_: Any) -> None:
            pass

    def describe(path: str) -> Any:
        assert folder is not None
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        sizes = {file.relative_to(folder).as_posix(): file_size or file.stat().st_size for file in files}
        if "/tree/" in path:
            return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in sizes.items()]
        siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
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
