"""Available CPU cores, and a thread pool to use them."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from longva_demo.quotas import CLIENT

Item = TypeVar("Item")
Result = TypeVar("Result")
Task = tuple[Future[Any], Callable[[Any], Any], Any]

lock = threading.Lock()
waiting: dict[str, deque[Task]] = {}  # by client; the first one is next


def available_cpus() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, available_cpus()), thread_name_prefix="longva-pixels")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, for functions that release the GIL, such as Pillow's. Clients take turns."""
    tasks: list[Task] = [(Future(), function, item) for item in items]
    with lock:
        waiting.setdefault(CLIENT.get(), deque()).extend(tasks)
    for _ in tasks:
        pool().submit(run_next)
    return (future.result() for future, _, _ in tasks)


def run_next() -> None:
    """Run a task of the client whose turn it is."""
    with lock:
        client = next(iter(waiting))
        tasks = waiting.pop(client)
        future, function, item = tasks.popleft()
        if tasks:
            waiting[client] = tasks  # behind the others
    try:
        future.set_result(function(item))
    except BaseException as error:
        future.set_exception(error)
