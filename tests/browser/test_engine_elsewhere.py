"""The page whose model runs on an engine elsewhere."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from longva_demo.chat import LocalEngine
from longva_demo.model import load
from longva_demo.settings import Settings
from tests.support.browser import Visit
from tests.support.fake_replica import Replica, serving
from tests.support.server import serving as serving_page

# The gallery's needle clip shows its number in these seconds.
NEEDLE = (37.4, 38.4)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    replica = Replica(LocalEngine(load("tiny", device="cpu"), Settings()))
    log = tmp_path_factory.mktemp("page") / "server.log"
    with serving(replica) as engine, serving_page(log, "--engine", engine) as address:
        yield address


def test_an_answer_names_the_frame_where_it_was_first_seen(desktop: BrowserContext, elsewhere: str) -> None:
    visit = Visit(desktop, elsewhere)
    expect(visit.page.locator(".badge")).to_contain_text("the small built-in LongVA on another machine")
    visit.pick("One second in a minute")
    assert re.search(r"\d", visit.ask("What number appears in the video?"))
    expect(visit.page.locator(".attribution-head")).to_contain_text("First seen at")
    chips = visit.page.locator(".attribution-frame")
    expect(chips).to_have_count(1)
    chips.click()
    seconds = visit.page.evaluate("document.querySelector('#player video').currentTime")
    assert NEEDLE[0] <= seconds <= NEEDLE[1]
    expect(visit.page.locator(f'.film-frames button[data-seconds="{seconds:g}"]')).to_be_in_viewport(ratio=1)
    expect(visit.page.locator(".film.attributed")).to_have_count(0)  # no frame has a weight
    assert visit.complaints == []
    visit.page.close()
