"""Fixtures that several folders share. torch gets one thread, so that results do not depend on the cores."""

import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from tests.support.clips import write_clip
from tests.support.server import serving

torch.set_num_threads(1)
pytest.register_assert_rewrite("tests.model.hub_check")  # so that a failed check shows its values
REPOSITORY = Path(__file__).parents[1]
getaddrinfo = socket.getaddrinfo


def getaddrinfo_without_network(host: Any, *args: Any, **kwargs: Any) -> Any:
    """Fail at once: without a network, a library that asks the Hub would try again for minutes.

    Addresses need no lookup, and names under .invalid never have one.
    """
    name = host.decode() if isinstance(host, bytes) else host or ""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        assert name in ("", "localhost") or name.endswith(".invalid"), f"a test looks up {name}; tests use no network"
    return getaddrinfo(host, *args, **kwargs)


if os.environ["HF_HUB_OFFLINE"] == "1":  # `make test-hub` asks the real Hub
    socket.getaddrinfo = getaddrinfo_without_network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those with many, so that parallel workers end at about the same time.

    The browser tests come last: Playwright runs an event loop in the main thread, where other tests start their own.
    """
    counts = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    browser = REPOSITORY / "tests" / "browser"
    items.sort(key=lambda item: (item.path.is_relative_to(browser), item.path not in slow, -counts[item.path]))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The original code's results: the full set beside the repository, else the excerpt in tests/data."""
    full = REPOSITORY.parent / "shared" / "reference"
    return full if full.is_dir() else REPOSITORY / "tests" / "data" / "reference"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of a circle that moves, 320 × 180 at 10 frames a second, with an awkward name."""
    return write_clip(tmp_path_factory.mktemp("clips") / "<b>my & clip.mp4", seconds=10)


@pytest.fixture(scope="session")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="session")
def address(server_log: Path) -> Iterator[str]:
    """The URL of a server with the bundled model, shared by all tests of a process."""
    with serving(server_log, "--model", "tiny") as address:
        yield address
