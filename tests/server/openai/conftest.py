"""One server for the tests of the API, which ask more often than a visitor may."""

from collections.abc import Iterator

import pytest

from tests.support.server import serving


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = {f"LONGVA_MAX_{what}_PER_MINUTE": "10000" for what in ("QUESTIONS", "EVENTS")}
    with serving(tmp_path_factory.mktemp("api") / "log", "--model", "tiny", **limits) as address:
        yield address
