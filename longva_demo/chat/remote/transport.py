"""HTTP to the engine. All requests run on one event loop, so that each can be cancelled at any moment."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from longva_demo.chat.remote.wire import EngineLost, message_of, refusal

T = TypeVar("T")

CONNECT_SECONDS = 10.0
READ_SECONDS = 300.0  # between two tokens, or before the first one, which may wait for other prompts
WRITE_SECONDS = 60.0  # without progress in an upload
# How soon a chat notices that it is stopped while the engine says nothing.
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class End:
    """The end of a response, and the error that ended it early."""

    error: BaseException | None = None


class Transport:
    """Requests to `base`, such as http://router:30000. `key` is sent as Bearer."""

    def __init__(self, base: str, key: str = "") -> None:
        self.base = base
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(CONNECT_SECONDS, read=READ_SECONDS, write=WRITE_SECONDS, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        # A proxy of the environment is for the internet; the engine is in the same network.
        self._client = httpx.AsyncClient(timeout=timeout, headers=headers, limits=limits, trust_env=False)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="longva-engine", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def get(self, path: str, seconds: float) -> tuple[int, Any]:
        """The status and the JSON of a GET; None in its place if the body is something else.

        Raises:
            httpx.HTTPError: no answer within `seconds`.
        """
        response = await self._client.get(f"{self.base}{path}", timeout=seconds)
        with contextlib.suppress(ValueError):
            return response.status_code, response.json()
        return response.status_code, None

    def stream(
        self, path: str, body: bytes, headers: dict[str, str], should_stop: Callable[[], bool]
    ) -> Generator[str]:
        """POST `body`; the data of the server-sent events that come back.

        Ends early, without an error, once `should_stop()` is true. The connection is closed at the end in any case, so
        that the replica stops too.

        Raises:
            EngineLost, ItemsMissing, DemoError: the request was refused or the connection was lost.
        """
        received: queue.SimpleQueue[str | End] = queue.SimpleQueue()
        request = self.start(self._receive(path, body, headers, received.put))
        try:
            while not should_stop():
                try:
                    event = received.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if not isinstance(event, End):
                    yield event
                elif event.error is not None:
                    raise event.error
                else:
                    return
        finally:
            request.cancel()

    async def _receive(self, path: str, body: bytes, headers: dict[str, str], put: Callable[[str | End], None]) -> None:
        headers = {"Content-Type": "application/json", **headers}
        error: BaseException | None = None
        try:
            async with self._client.stream("POST", f"{self.base}{path}", content=body, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    raise refusal(response.status_code, message_of(await response.aread()))
                async for line in response.aiter_lines():
                    if line.startswith("data:"):
                        put(line.removeprefix("data:").strip())
        except httpx.TransportError as lost:
            error = EngineLost(type(lost).__name__)
        except Exception as other:
            error = other
        put(End(error))
