"""What comes in by POST: no more than is allowed, refused while it comes; no half of an upload stays on the disk."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from gradio import route_utils
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
# The form around an uploaded file; a question with all its fields.
MOST_FORM_BYTES = 100_000
MOST_OTHER_BYTES = 8_000_000
# Gradio's screen recorder keeps what is sent to it, and this page does not have it.
CLOSED = "/process_recording"


def intake(most_upload_bytes: int) -> Middleware:
    """For the page's app; also puts the parser below in place of Gradio's."""
    route_utils.GradioMultiPartParser = TidyParser  # type: ignore[misc]
    return Middleware(Intake, most_upload_bytes=most_upload_bytes)


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


class Intake:
    """Middleware that counts what a request sends, and ends one that sends too much."""

    def __init__(self, app: ASGIApp, most_upload_bytes: int) -> None:
        self._app = app
        self._most_upload_bytes = most_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        if path.endswith(CLOSED):
            await refusal(404, "there is no such address here")(scope, receive, send)
            return
        is_upload = path.endswith("/upload")
        allowed = self._most_upload_bytes if is_upload else MOST_OTHER_BYTES
        most = allowed + MOST_FORM_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        counted = Counted(receive, most)
        too_much = refusal(413, f"more than the {allowed / 1e6:,.0f} MB that are allowed; send a smaller file")
        if length.isdigit() and int(length) > most:
            await too_much(scope, receive, send)
            return
        try:
            await self._app(scope, counted.receive, hanging_up(send) if is_upload else send)
        except ClientDisconnect:
            if counted.is_full:
                await too_much(scope, receive, send)
        except OSError as error:
            if not is_upload:
                raise
            log.error("an upload cannot be kept: %s", error)
            line = f"the upload cannot be kept ({error.strerror or type(error).__name__}); try again later"
            await PlainTextResponse(line, 507)(scope, receive, send)  # the page shows it once it has sent all


class Counted:
    """The body of a request, which seems to break off where it becomes larger than `most` bytes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    @property
    def is_full(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
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
