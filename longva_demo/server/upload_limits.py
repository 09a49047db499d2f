"""Limits for the bodies of POST requests. Too large ones are refused while they arrive; partial uploads are deleted."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio import route_utils
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
MAX_FORM_BYTES = 100_000  # of the form around an uploaded file
MAX_LOGIN_BYTES = 10_000  # strangers may send it
MAX_OTHER_BYTES = 2_000_000  # of other requests, such as a question with all its fields
STORAGE_FULL = "the videos in use leave no space for this file; try again later, or upload a smaller file"
# Gradio's screen recorder stores what it is sent, and this page has no recorder.
DISABLED = "/process_recording"


def limit_uploads(max_file_bytes: int, free_space: Callable[[int], int]) -> Middleware:
    """The middleware. Also replaces Gradio's parser by the one below.

    free_space: given the bytes to come, deletes old uploads if necessary, and returns how many bytes fit.
    """
    route_utils.GradioMultiPartParser = CleanParser  # type: ignore[misc]
    return Middleware(UploadLimits, max_file_bytes=max_file_bytes, free_space=free_space)


class CleanParser(route_utils.GradioMultiPartParser):
    """Gradio's parser, which here deletes partial files if the client disconnects or the disk is full."""

    async def parse(self) -> Any:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                with contextlib.suppress(OSError):  # close() flushes
                    file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


class UploadLimits:
    """Middleware that counts the bytes of each request, and refuses those that exceed a limit."""

    def __init__(self, app: ASGIApp, max_file_bytes: int, free_space: Callable[[int], int]) -> None:
        self._app = app
        self._max_file_bytes = max_file_bytes
        self._free_space = free_space
        self._running: set[CountedBody] = set()  # uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        if path.endswith(DISABLED):
            await refusal(404, "not found")(scope, receive, send)
            return
        is_upload = path.endswith("/upload")
        what, allowed = "request", MAX_LOGIN_BYTES if path.endswith("/login") else MAX_OTHER_BYTES
        if is_upload:
            what, allowed = "file", self._max_file_bytes
        max_bytes = allowed + MAX_FORM_BYTES * is_upload
        header = dict(scope["headers"]).get(b"content-length", b"0")
        length = int(header) if header.isdigit() else 0
        limit = f"{allowed / 1e6:,.0f} MB" if allowed >= 1e6 else f"{allowed / 1e3:,.0f} kB"
        too_large = refusal(413, f"the {what} exceeds the limit of {limit}; upload a smaller one")
        if length > max_bytes:
            await too_large(scope, receive, send)
            return
        body = CountedBody(receive, max_bytes, length)
        try:
            if is_upload:
                await self._accept_upload(body, scope, send)
            else:
                await self._app(scope, body.receive, send)
        except ClientDisconnect:
            if body.is_too_large:
                await too_large(scope, receive, send)

    async def _accept_upload(self, body: "CountedBody", scope: Scope, send: Send) -> None:
        """Accept the upload if there is space for it besides the other running ones."""
        others = sum(other.remaining for other in self._running)
        self._running.add(body)
        error_text = ""
        try:
            space = await run_in_threadpool(self._free_space, others + body.remaining) - others
            if space < max(body.remaining, 1):
                error_text = STORAGE_FULL
            else:
                body.limit(space)
                await self._app(scope, body.receive, close_on_error(send))
        except OSError as error:
            log.error("cannot store an upload: %s", error)
            error_text = (
                f"the server cannot store the upload ({error.strerror or type(error).__name__}); try again later"
            )
        finally:
            self._running.discard(body)
        if error_text:
            await PlainTextResponse(error_text, 507)(scope, body.receive, send)  # shown once the browser has sent all


class CountedBody:
    """The body of a request, of `length` bytes if known (else 0). After `max_bytes` it looks like a disconnect."""

    def __init__(self, receive: Receive, max_bytes: int, length: int) -> None:
        self._receive = receive
        self._allowed = max_bytes
        self.remaining = length

    def limit(self, max_bytes: int) -> None:
        self._allowed = min(self._allowed, max_bytes)

    @property
    def is_too_large(self) -> bool:
        return self._allowed < 0

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self._allowed -= size
        self.remaining = max(0, self.remaining - size)
        return {"type": "http.disconnect"} if self.is_too_large else message


def close_on_error(send: Send) -> Send:
    """Close the connection after an error, so that the client need not send the rest."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_and_close


def refusal(status: int, text: str) -> PlainTextResponse:
    """An error after which the server closes the connection, without reading the rest of the request."""
    return PlainTextResponse(text, status, {"Connection": "close"})
