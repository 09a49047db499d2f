"""Lighthouse's scores of the page at its first visit, on a phone and on a desktop, with what it finds wanting.

The baselines are the aims. Run it with `python -m bench.lighthouse`; it needs npx, which fetches Lighthouse from npm.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

from bench import rows
from tests.support.browser import find_browser
from tests.support.server import serving

VERSION = "13.5.0"
MIN_SCORE, MAX_SHIFT = 95, 0.05
CATEGORIES = {"accessibility": "accessibility", "best-practices": "best practices"}
# A phone is Lighthouse's default.
DEVICES = {"phone": (), "desktop": ("--preset=desktop",)}


def measure(address: str, browser: str, folder: Path, flags: tuple[str, ...]) -> dict[str, Any]:
    """Lighthouse's report."""
    file = folder / "report.json"
    command = ["npx", "--yes", f"lighthouse@{VERSION}", address, "--quiet", "--output=json", f"--output-path={file}"]
    chrome = "--chrome-flags=--headless --no-sandbox --disable-gpu"
    environment = {**os.environ, "CHROME_PATH": browser}
    subprocess.run([*command, chrome, *flags], check=True, env=environment, stdout=subprocess.DEVNULL)
    report: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return report


def show(device: str, report: dict[str, Any]) -> bool:
    """Print the scores, and return whether all are met."""
    shift = report["audits"]["cumulative-layout-shift"]["numericValue"]
    rows.add(f"Lighthouse, layout shift, {device}", f"at most {MAX_SHIFT}", f"{shift:.3f}", "")
    is_met = shift <= MAX_SHIFT
    for name, title in CATEGORIES.items():
        category = report["categories"][name]
        score = round(100 * category["score"])
        rows.add(f"Lighthouse, {title}, {device}", f"at least {MIN_SCORE}", f"{score} of 100", "")
        is_met &= score >= MIN_SCORE
        for one in category["auditRefs"]:
            audit = report["audits"][one["id"]]
            if one["weight"] and audit["score"] is not None and audit["score"] < 1:
                print(f"  {audit['id']}: {audit['title']}", flush=True)
    return is_met


def main() -> int:
    if shutil.which("npx") is None:
        print("npx is needed: install Node.js, which brings it")
        return 1
    with sync_playwright() as playwright:
        browser = find_browser(playwright.chromium)
    with TemporaryDirectory() as name, serving(Path(name) / "server.log", "--model", "tiny") as address:
        met = [show(device, measure(address, browser, Path(name), flags)) for device, flags in DEVICES.items()]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
