"""Time from the click to all frames on the page, with 200 and 2,000 frames, in a real browser.

The baseline is decoding alone, with nothing else running. The browser counts bytes and requests from the click on. Run
it with `python -m bench.page`.
"""

import argparse
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from PIL import Image, ImageOps
from playwright.sync_api import Page, sync_playwright

from bench import rows
from longva_demo.video import decode_frames, plan_frames, probe
from tests.support.browser import ARGUMENTS, find_browser
from tests.support.server import serving

SECONDS, FPS, WIDTH, HEIGHT = 100, 25, 960, 540
BUDGETS = (200, 2000)

# Long tasks block the page, including scrolling and typing.
WATCH = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((e) => {
    window.longest = Math.max(window.longest, e.duration);
  })).observe({ type: "longtask" });
}"""


def write_clip(path: Path) -> None:
    """A camera that pans over soft blobs: every frame differs, and none is noise."""
    ground = Image.effect_noise((WIDTH // 8, HEIGHT // 16), 120).resize((3 * WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    wide = Image.merge("RGB", (ground, ImageOps.mirror(ground), ImageOps.flip(ground)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        count = SECONDS * FPS
        for number in range(count):
            left = 2 * WIDTH * number // count
            frame = av.VideoFrame.from_image(wide.crop((left, 0, left + WIDTH, HEIGHT)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decode_seconds(path: Path, budget: int) -> float:
    started = time.perf_counter()
    info = probe(path)
    for _ in decode_frames(path, plan_frames(info, budget), info=info):
        pass
    return time.perf_counter() - started


class Traffic:
    """Counts the requests and received bytes of a page in its browser."""

    def __init__(self, page: Page) -> None:
        self.requests, self.num_bytes = 0, 0
        self._lock = threading.Lock()
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.dataReceived", self._received)

    def _sent(self, event: dict[str, Any]) -> None:
        self.requests += event["request"]["url"].startswith("http")

    def _received(self, event: dict[str, Any]) -> None:
        self.num_bytes += event["encodedDataLength"] or event["dataLength"]


def measure(page: Page, budget: int) -> tuple[float, float, int, int, float]:
    """Seconds to the first frame and to all of them, requests, bytes, and the longest task in milliseconds."""
    page.evaluate(WATCH)
    traffic = Traffic(page)
    started = time.perf_counter()
    page.fill(".budget-number", str(budget))
    page.press(".budget-number", "Enter")
    page.wait_for_selector('.film[data-state="sampling"]')
    page.wait_for_selector(".film-frames li")
    first = time.perf_counter() - started
    page.wait_for_selector(f'.film[data-state="done"][data-count="{budget}"]')
    return first, time.perf_counter() - started, traffic.requests, traffic.num_bytes, page.evaluate("window.longest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    model = parser.parse_args().model
    print(f"{SECONDS} s of {WIDTH} × {HEIGHT} h264 at {FPS} fps\n")
    print("| frames | decoding alone, s | first frames on the page, s | all, s | requests | MB | longest task, ms |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "clip.mp4"
        write_clip(path)
        browser = playwright.chromium.launch(executable_path=find_browser(playwright.chromium), args=list(ARGUMENTS))
        with serving(Path(folder) / "server.log", "--model", model) as address:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(600_000)
            page.goto(address)
            page.set_input_files("#player input[type=file]", str(path))
            page.wait_for_selector('.film[data-state="done"]')
            for budget in BUDGETS:
                alone = decode_seconds(path, budget)
                first, everything, requests, num_bytes, longest = measure(page, budget)
                figures = f"{first:.1f} | {everything:.1f} | {requests} | {num_bytes / 1e6:.1f} | {longest:.0f}"
                print(f"| {budget:,} | {alone:.1f} | {figures} |", flush=True)
            print()
            what = f"{budget:,} frames, from the click to all on the page"
            ratio = f"{everything / alone:.1f} × decoding alone"
            rows.add(what, f"decoding alone: {alone:.1f} s", f"{everything:.1f} s", ratio)
        browser.close()


if __name__ == "__main__":
    main()
