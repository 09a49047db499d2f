"""Bodies of programs' requests: their files go to the disk as they arrive, under the limits of uploads."""

import asyncio
import logging
import math

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from longva_demo.quotas import Quota, client_of
from longva_demo.server import bodies
from longva_demo.server.bodies import MAX_OTHER_BYTES, announced_bytes, replay, too_large
from longva_demo.server.openai.spool import Spool, SpoolError
from longva_demo.server.requests import refusal, route_of
from longva_demo.server.reservations import Reservation, Reservations

log = logging.getLogger(__name__)
FILES = "longva.files"  # by reference, in the scope of a request
LETTERS_PER_BYTE = 4 / 3  # of base64
FULL = "the files in use leave no space for this one; try again later, or send a smaller one"


def spool_files(
    paths: set[str], max_file_bytes: int, reservations: Reservations, uploads: Quota, body_bytes: Quota
) -> Middleware:
    """The middleware for requests to `paths`. It comes before `limit_bodies`: what is left of a body is small."""
    return Middleware(SpooledBodies, paths, max_file_bytes, reservations, uploads, body_bytes)


class SpooledBodies:
    def __init__(
        self,
        app: ASGIApp,
        paths: set[str],
        max_file_bytes: int,
        reservations: Reservations,
        uploads: Quota,
        body_bytes: Quota,
    ) -> None:
        self._app = app
        self._paths = paths
        self._max_bytes = math.ceil(LETTERS_PER_BYTE * max_file_bytes) + MAX_OTHER_BYTES
        self._reservations = reservations
        self._uploads = uploads
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if route_of(scope) not in self._paths or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        spool = Spool()
        try:
            with self._uploads.hold(client_of(scope)):
                problem = await self._read(spool, scope, receive)
            if problem is not None:
                await problem(scope, receive, send)
                return
            headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
            headers.append((b"content-length", str(len(spool.rest)).encode()))
            rest = replay(bytes(spool.rest), receive)
            await self._app({**scope, "headers": headers, FILES: spool.files}, rest, send)
        finally:
            await run_in_threadpool(spool.close)

    async def _read(self, spool: Spool, scope: Scope, receive: Receive) -> Response | None:
        """Read all of the body into `spool`. Returns the refusal, if there is one."""
        reservation, client = Reservation(), client_of(scope)
        if announced_bytes(scope) > self._max_bytes:
            return too_large("request", self._max_bytes, "send")
        self._reservations.running.add(reservation)
        num_left, num_held = self._max_bytes, 0
        try:
            has_more = True
            while has_more:
                async with asyncio.timeout(bodies.BODY_SECONDS):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    return refusal(400, "the request ended early; send it again")
                piece = message.get("body", b"")
                num_left -= len(piece)
                if num_left < 0:
                    return too_large("request", self._max_bytes, "send")
                reservation.num_granted -= await run_in_threadpool(spool.feed, piece)
                if reservation.num_granted < 0 and not await self._reservations.extend(reservation):
                    return refusal(429, FULL)
                if len(spool.rest) > MAX_OTHER_BYTES:
                    return too_large("request without its files", MAX_OTHER_BYTES, "send")
                if len(spool.rest) > num_held:
                    self._body_bytes.take(client, len(spool.rest) - num_held)
                    num_held = len(spool.rest)
                has_more = message.get("more_body", False)
        except TimeoutError:
            return refusal(408, f"no data arrived for {bodies.BODY_SECONDS:g} seconds; send the request again")
        except SpoolError as error:
            return refusal(400, str(error))
        except OSError as error:
            log.error("cannot store a file of a request: %s", error)
            return refusal(429, f"the server cannot store the file ({error.strerror}); try again later")
        finally:
            self._reservations.running.discard(reservation)
            self._body_bytes.give_back(client, num_held)
        return None
