"""Watches the engine in the background, for /metrics, /healthz and the queue."""

import asyncio
import logging
from typing import Any

import httpx

from longva_demo.chat.remote.transport import Transport

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
TIMEOUT_SECONDS = 4.0


class Health:
    """Whether the engine answers, and how many replicas it has; as it was a few seconds ago."""

    def __init__(self, transport: Transport) -> None:
        self.problem = ""  # in one line, "" if all is well
        self.num_replicas = 1
        self._transport = transport

    def watch(self) -> None:
        """Check now, and then every CHECK_SECONDS until the process ends."""
        self._transport.start(self.check()).result()
        self._transport.start(self._repeat())

    async def check(self) -> None:
        before, self.problem = self.problem, await self._find_problem()
        if self.problem and not before:
            log.warning("the engine elsewhere does not answer, or is not healthy")
        elif before and not self.problem:
            log.warning("the engine elsewhere answers again")

    async def _find_problem(self) -> str:
        try:
            status, _ = await self._transport.get("/health", TIMEOUT_SECONDS)
            if status != httpx.codes.OK:
                return f"the engine is not healthy (HTTP {status})"
            status, values = await self._transport.get("/list_workers", TIMEOUT_SECONDS)  # of vllm-router
            self.num_replicas = count_workers(values) if status == httpx.codes.OK else 1
        except httpx.HTTPError as error:
            return f"the engine does not answer ({type(error).__name__})"
        return ""

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()


def count_workers(values: Any) -> int:
    """The replicas in the router's answer to /list_workers.

    >>> count_workers({"urls": ["http://a:8000", "http://b:8000"]})
    2
    """
    workers = values.get("urls") if isinstance(values, dict) else values
    return max(1, len(workers)) if isinstance(workers, list) else 1
