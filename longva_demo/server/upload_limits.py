"""What comes in by POST: no more than is allowed or has room, refused while it comes; no half of an upload stays."""

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
# The form around an uploaded file; a question with all its fields.
MAX_FORM_BYTES = 100_000
MAX_OTHER_BYTES = 8_000_000
NO_ROOM = "there is no room for it beside the videos in use; try again later, or send a smaller file"
# Gradio's screen recorder keeps what is sent to it, and this page does not have it.
CLOSED = "/process_recording"


def limit_uploads(max_upload_bytes: int, make_room: Callable[[int], int]) -> Middleware:
    """For the page's app; also puts the parser below in place of Gradio's.

    make_room: given the bytes that are to come, tidies up, and returns how many there is room for.
    """
    route_utils.GradioMultiPartParser = TidyParser  # type: ignore[misc]
    return Middleware(UploadLimits, max_upload_bytes=max_upload_bytes, make_room=make_room)


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's own, but what it wrote goes too where the sender breaks off or the disk is full."""

    async def parse(self) -> Any:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                with contextlib.suppress(OSError):  # closing writes what is still in memory
                    file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


class UploadLimits:
    """Middleware that counts what a request sends, and ends one that sends too much."""

    def __init__(self, app: ASGIApp, max_upload_bytes: int, make_room: Callable[[int], int]) -> None:
        self._app = app
        self._max_upload_bytes = max_upload_bytes
        self._make_room = make_room
        self._coming: set[Counted] = set()  # the uploads that are on their way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        if path.endswith(CLOSED):
            await refusal(404, "there is no such address here")(scope, receive, send)
            return
        is_upload = path.endswith("/upload")
        allowed = self._max_upload_bytes if is_upload else MAX_OTHER_BYTES
        most = allowed + MAX_FORM_BYTES
        said = dict(scope["headers"]).get(b"content-length", b"0")
        length = int(said) if said.isdigit() else 0
        too_much = refusal(413, f"more than the {allowed / 1e6:,.0f} MB that are allowed; send a smaller file")
        if length > most:
            await too_much(scope, receive, send)
            return
        counted = Counted(receive, most, length)
        try:
            if is_upload:
                await self._take_upload(counted, scope, send)
            else:
                await self._app(scope, counted.receive, send)
        except ClientDisconnect:
            if counted.is_full:
                await too_much(scope, receive, send)

    async def _take_upload(self, counted: "Counted", scope: Scope, send: Send) -> None:
        """Take it where there is room for it, beside the others that are on their way."""
        others = sum(one.awaited for one in self._coming)
        self._coming.add(counted)
        line = ""
        try:
            room = await run_in_threadpool(self._make_room, others + counted.awaited) - others
            if room < max(counted.awaited, 1):
                line = NO_ROOM
            else:
                counted.limit(room)
                await self._app(scope, counted.receive, hanging_up(send))
        except OSError as error:
            log.error("an upload cannot be kept: %s", error)
            line = f"the upload cannot be kept ({error.strerror or type(error).__name__}); try again later"
        finally:
            self._coming.discard(counted)
        if line:
            await PlainTextResponse(line, 507)(scope, counted.receive, send)  # the page shows it once it has sent all


class Counted:
    """The body of a request, `length` bytes if that is known; it seems to break off where it passes `most` bytes."""

    def __init__(self, receive: Receive, most: int, length: int) -> None:
        self._receive = receive
        self._left = most
        self.awaited = length  # what is still to come

    def limit(self, most: int) -> None:
        self._left = min(self._left, most)

    @property
    def is_full(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self._left -= size
        self.awaited = max(0, self.awaited - size)
        return {"type": "http.disconnect"} if self.is_full else message


def hanging_up(send: Send) -> Send:
    """After a refusal too, the rest need not be sent."""

    async def send_or_hang_up(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_or_hang_up


def refusal(status: int, line: str) -> PlainTextResponse:
    """One line, after which the server hangs up: what is still being sent is not read."""
    return PlainTextResponse(line, status, {"Connection": "close"})
