"""The built-in model in this process, and a replica that answers with it over HTTP."""

from collections.abc import Iterator

import pytest

from longva_demo.chat import LocalEngine
from longva_demo.chat.remote import RemoteEngine
from longva_demo.model import load
from longva_demo.settings import Settings
from tests.support.fake_replica import Replica, serving


@pytest.fixture(scope="module")
def local() -> LocalEngine:
    return LocalEngine(load("tiny", device="cpu"), Settings())


@pytest.fixture(scope="module")
def served(local: LocalEngine) -> Iterator[tuple[Replica, str]]:
    replica = Replica(LocalEngine(local.loaded, Settings()))
    with serving(replica) as address:
        yield replica, address


@pytest.fixture(scope="module")
def remote(served: tuple[Replica, str]) -> RemoteEngine:
    return RemoteEngine.connect(Settings(engine=served[1]))


@pytest.fixture
def replica(served: tuple[Replica, str]) -> Iterator[Replica]:
    """Without faults, items and prefixes."""
    replica = served[0]
    replica.forget()
    replica.requests.clear()
    replica.sessions.clear()
    yield replica
    replica.faults.clear()
    replica.token_seconds = 0.0
