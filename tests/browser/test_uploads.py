"""Uploads through a slow proxy: what the page shows meanwhile, cancelling, and a connection that breaks off."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Visit
from tests.support.clips import write_clip
from tests.support.proxy import SlowProxy, slow_proxy

FIELD = "#question textarea"
FIGURES = re.compile(r"\d+% · [\d.]+ [kM]B of 20\.\d MB · [\d.]+ [kM]B a second · [\d.:]+ ?s? left")


@pytest.fixture
def heavy_clip(clip: Path, tmp_path: Path) -> Path:
    """The clip with 20 MB that no decoder reads, in an MP4 box of its own: the system's buffers hold a part of them."""
    file = tmp_path / "heavy.mp4"
    file.write_bytes(clip.read_bytes() + struct.pack(">I4s", 20_000_008, b"free") + bytes(20_000_000))
    return file


@pytest.fixture
def proxy(address: str) -> Iterator[SlowProxy]:
    with slow_proxy(address) as proxy:
        yield proxy


@pytest.fixture
def slow(browser: Browser, proxy: SlowProxy) -> Iterator[Visit]:
    """A visit through the proxy."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    visit = Visit(context, proxy.address)
    yield visit
    visit.open("about:blank")
    context.close()


def test_an_upload_shows_the_file_and_its_progress_and_a_question_waits(
    slow: Visit, proxy: SlowProxy, heavy_clip: Path
) -> None:
    page = slow.page
    proxy.rate = 2_000_000
    slow.upload(heavy_clip)
    page.wait_for_function("document.querySelector('#player .upload-view')?.readyState >= 1")
    expect(page.locator(".upload-line")).to_contain_text("heavy.mp4")
    slow.submit("What shape is it?")
    expect(page.locator(".waiting")).to_contain_text("What shape is it?")
    expect(page.locator(".waiting")).to_contain_text("Will be asked when the upload is complete")
    expect(page.locator(".upload-line span")).to_have_text(FIGURES)
    assert 0 < page.evaluate("document.querySelector('.upload progress').position") < 1
    proxy.rate = 10**9
    assert slow.wait_for_answer(1)
    expect(page.locator(".upload")).to_have_count(0)
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator("#about")).to_contain_text("heavy.mp4")
    assert slow.complaints == []


def test_a_cancelled_upload_leaves_the_field_empty_and_returns_the_question(
    slow: Visit, proxy: SlowProxy, heavy_clip: Path, clip: Path
) -> None:
    page = slow.page
    proxy.rate = 0
    slow.upload(heavy_clip)
    expect(page.locator(".upload")).to_be_visible()
    slow.submit("What shape is it?")
    expect(page.locator(".waiting")).to_be_visible()
    page.click(".upload [data-tool=cancel]")
    expect(page.locator(".upload")).to_have_count(0)
    expect(page.locator(FIELD)).to_have_value("What shape is it?")
    proxy.rate = 10**9
    page.wait_for_selector("#player .upload-container")
    slow.upload(clip)
    slow.wait_for_frames()
    expect(page.locator("#about")).to_contain_text("my & clip.mp4")


def test_a_broken_upload_is_sent_again_without_choosing_the_file_again(
    slow: Visit, proxy: SlowProxy, heavy_clip: Path
) -> None:
    page = slow.page
    proxy.rate = 2_000_000
    slow.upload(heavy_clip)
    slow.submit("What shape is it?")
    expect(page.locator(".upload-line span")).to_have_text(FIGURES)
    while not page.locator(".upload [data-tool=again]").is_visible():  # browsers send it once more themselves
        proxy.break_uploads()
    expect(page.locator(".upload-line")).to_contain_text("The connection was lost.")
    expect(page.locator(".waiting")).to_be_visible()
    proxy.rate = 10**9
    page.click(".upload [data-tool=again]")
    assert slow.wait_for_answer(1)
    expect(page.locator("#about")).to_contain_text("heavy.mp4")


def test_a_preview_is_not_requested_for_the_cover_of_an_upload(slow: Visit, proxy: SlowProxy, tmp_path: Path) -> None:
    """The cover's view of a file that the browser cannot play fails first, and is gone when a preview would arrive."""
    clip = write_clip(tmp_path / "late.ts", 4)
    proxy.rate = 0
    slow.upload(clip)
    slow.page.wait_for_selector(".upload-view[hidden]", state="attached")
    assert slow.page.locator("[data-ask]").count() == 0
    proxy.rate = 10**9
    slow.page.wait_for_function("document.querySelector('#player video:not(.upload-view)')?.readyState >= 2")
    assert "/longva/preview/" in slow.page.eval_on_selector("#player video", "video => video.currentSrc")
    assert slow.complaints == []
