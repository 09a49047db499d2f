"""What the page has asked of the engine elsewhere, for /metrics."""

import threading
from collections.abc import Iterator

from longva_demo.chat.engine import Figure
from longva_demo.chat.remote.wire import EngineLost, Usage


class Counts:
    """Since the start of this process. Several chats count at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompt_tokens = self._cached_tokens = 0
        self._retries = {"busy": 0.0, "lost": 0.0}

    def add_prompt(self, usage: Usage) -> None:
        with self._lock:
            self._prompt_tokens += usage.prompt_tokens
            self._cached_tokens += usage.cached_tokens or 0

    def add_retry(self, lost: EngineLost) -> None:
        with self._lock:
            self._retries["busy" if lost.is_busy else "lost"] += 1

    def figures(self, is_up: bool, num_replicas: int, context_length: int) -> Iterator[Figure]:
        yield Figure("engine_up", "Whether the engine elsewhere answers", {"": is_up})
        yield Figure("engine_replicas", "Its replicas", {"": num_replicas if is_up else 0})
        yield Figure("engine_context_tokens", "Its longest prompt, in tokens", {"": context_length})
        sent = "Tokens of prompts sent to the engine elsewhere"
        yield Figure("engine_prompt_tokens", sent, {"": self._prompt_tokens}, is_counter=True)
        cached = "Those of them that it had in its prefix cache"
        yield Figure("engine_cached_tokens", cached, {"": self._cached_tokens}, is_counter=True)
        again = "Requests tried again, because the engine was busy or lost"
        yield Figure("engine_retries", again, dict(self._retries), "reason", is_counter=True)
