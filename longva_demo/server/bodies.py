"""Request bodies: how large they may be, how long they may take, and how much of them one client may send at once.

The file of an upload is written to the disk while it arrives. Everything else is in memory before a route sees it.
"""

import asyncio
import contextlib
import hashlib
import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gradio import route_utils, routes
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longva_demo.quotas import Quota, client_of
from longva_demo.server.requests import refusal, route_of
from longva_demo.server.reservations import Reservation, Reservations

log = logging.getLogger(__name__)
MAX_FORM_BYTES = 100_000  # of the form around an uploaded file
MAX_LOGIN_BYTES = 10_000  # strangers may send it
MAX_OTHER_BYTES = 1_000_000  # of other requests, such as a question with all its fields
MAX_FIELDS, MAX_FIELD_BYTES = 10, 1000  # texts in the form of an upload; the page sends none
# Values in the JSON of a request. Parsing blocks all other requests, and each value takes about 100 bytes.
MAX_VALUES = 20_000
BODY_SECONDS = 30.0  # for all of a request, or for the next bytes of an upload
MAX_UPLOAD_ID = 64  # characters; the page's are shorter
FORGET_SECONDS = 10.0
STORAGE_FULL = "the videos in use leave no space for this file; try again later, or upload a smaller file"
LOGIN, UPLOAD, UPLOAD_PROGRESS = "/login", "/gradio_api/upload", "/gradio_api/upload_progress"
# Gradio's screen recorder stores what it is sent, and this page has no recorder.
DISABLED = "/gradio_api/process_recording"
# Bytes of the body, in the scope of its request: a waiting event still holds them.
BODY_BYTES = "longva.body_bytes"
# The folder of an upload is named after this and the file's content, so that strangers cannot guess it.
SECRET = secrets.token_bytes(32)


def limit_bodies(max_file_bytes: int, reservations: Reservations, uploads: Quota, body_bytes: Quota) -> Middleware:
    """The middleware. Also replaces Gradio's parser of forms by the one below."""
    route_utils.GradioMultiPartParser = FormParser  # type: ignore[misc]
    return Middleware(Bodies, max_file_bytes, reservations, uploads, body_bytes)


class FormParser(route_utils.GradioMultiPartParser):
    """Gradio's parser for forms with one file and short texts. Deletes a partial file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "max_files": 1, "max_fields": MAX_FIELDS})

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            part.file.sha = hashlib.blake2b(key=SECRET, digest_size=32)  # type: ignore[attr-defined]
            if part.field_name != "files":
                raise MultiPartException('the file is not in the field "files"; name the field so')

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is not None:
            super().on_part_data(data, start, end)
        elif len(part.data) + end - start > MAX_FIELD_BYTES:
            raise MultiPartException(f"a text in the form exceeds {MAX_FIELD_BYTES:,} bytes; send the file alone")
        else:
            part.data += data[start:end]

    async def parse(self) -> Any:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                with contextlib.suppress(OSError):  # close() flushes
                    file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


class Bodies:
    """Middleware for the bodies of POST requests."""

    def __init__(
        self, app: ASGIApp, max_file_bytes: int, reservations: Reservations, uploads: Quota, body_bytes: Quota
    ) -> None:
        self._app = app
        self._max_file_bytes = max_file_bytes
        self._reservations = reservations
        self._uploads = uploads
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_of(scope)
        if path in (UPLOAD, UPLOAD_PROGRESS):
            upload_id = parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [""])[0]
            if len(upload_id) > MAX_UPLOAD_ID:
                await refusal(400, f"the upload's id has more than {MAX_UPLOAD_ID} characters; use a shorter one")(
                    scope, receive, send
                )
                return
            try:
                await (self._store if scope["method"] == "POST" else self._app)(scope, receive, send)
            finally:
                asyncio.get_running_loop().call_later(FORGET_SECONDS, forget_progress, upload_id)
        elif scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif path == DISABLED:
            await refusal(404, "not found")(scope, receive, send)
        else:
            await self._read(MAX_LOGIN_BYTES if path == LOGIN else MAX_OTHER_BYTES, scope, receive, send)

    async def _read(self, max_bytes: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then let the app answer."""
        client, body = client_of(scope), bytearray()
        problem = too_large("request", max_bytes, "send") if announced_bytes(scope) > max_bytes else None
        num_held = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                has_more = problem is None
                while has_more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    piece = message.get("body", b"")
                    if len(body) + len(piece) > max_bytes:
                        problem = too_large("request", max_bytes, "send")
                        break
                    self._body_bytes.take(client, len(piece))
                    num_held += len(piece)
                    body += piece
                    has_more = message.get("more_body", False)
            if problem is None and sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_VALUES:
                problem = refusal(413, f"the request has more than {MAX_VALUES:,} values; send fewer")
            if problem is None:
                scope[BODY_BYTES] = len(body)
                await self._app(scope, replay(bytes(body), receive), send)
                return
        except TimeoutError:
            problem = refusal(408, f"the request did not arrive within {BODY_SECONDS:g} seconds; send it again")
        finally:
            self._body_bytes.give_back(client, num_held)
        await problem(scope, receive, send)

    async def _store(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app store the uploaded file, as long as there is space for what has arrived."""
        length = announced_bytes(scope)
        if length > self._max_file_bytes + MAX_FORM_BYTES:
            await too_large("file", self._max_file_bytes, "upload")(scope, receive, send)
            return
        with self._uploads.hold(client_of(scope)):
            body = UploadBody(receive, self._max_file_bytes, length, self._reservations)
            self._reservations.running.add(body)
            try:
                if not await self._reservations.could_fit(length):
                    body.problem = PlainTextResponse(STORAGE_FULL, 507)
                else:
                    await self._app(scope, body.receive, close_on_error(send))
            except ClientDisconnect:
                if body.problem is None:
                    raise
            except OSError as error:
                log.error("cannot store an upload: %s", error)
                reason = error.strerror or type(error).__name__
                body.problem = PlainTextResponse(f"the server cannot store the upload ({reason}); try again later", 507)
            finally:
                self._reservations.running.discard(body)
            if body.problem is not None:
                await body.problem(scope, receive, send)


class UploadBody(Reservation):
    """The body of an upload. It looks like a disconnect when there is a `problem`: too large, no space, or stalled."""

    def __init__(self, receive: Receive, max_file_bytes: int, length: int, reservations: Reservations) -> None:
        super().__init__(num_announced=length or None)
        self._receive = receive
        self._reservations = reservations
        self._max_file_bytes = max_file_bytes
        self._num_allowed = max_file_bytes + MAX_FORM_BYTES
        self.problem: Response | None = None

    async def receive(self) -> Message:
        disconnect = {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await self._receive()
        except TimeoutError:
            self.problem = refusal(408, f"no data arrived for {BODY_SECONDS:g} seconds; upload the file again")
            return disconnect
        size = len(message.get("body", b""))
        self._num_allowed -= size
        self.num_granted -= size
        if self.num_announced is not None:
            self.num_announced -= size
        if self._num_allowed < 0:
            self.problem = too_large("file", self._max_file_bytes, "upload")
        elif self.num_granted < 0 and not await self._reservations.extend(self):
            self.problem = PlainTextResponse(STORAGE_FULL, 507)  # a browser shows it once it has sent everything
        return message if self.problem is None else disconnect


def announced_bytes(scope: Scope) -> int:
    """The length of the body according to its header, 0 if unknown."""
    header = dict(scope["headers"]).get(b"content-length", b"0")
    return int(header) if header.isdigit() else 0


def too_large(what: str, max_bytes: int, verb: str) -> PlainTextResponse:
    limit = f"{max_bytes / 1e6:,.0f} MB" if max_bytes >= 1e6 else f"{max_bytes / 1e3:,.0f} kB"
    return refusal(413, f"the {what} exceeds the limit of {limit}; {verb} a smaller one")


def replay(body: bytes, receive: Receive) -> Receive:
    """Give the body in one message, and then what `receive` gives: the end of the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def close_on_error(send: Send) -> Send:
    """Close the connection after an error, so that the client need not send the rest."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_and_close


def forget_progress(upload_id: str) -> None:
    """Forget the progress that Gradio has tracked for an upload."""
    statuses = routes.file_upload_statuses
    statuses.stop_tracking(upload_id)
    statuses._signals.pop(upload_id, None)
