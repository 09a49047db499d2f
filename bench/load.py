"""Many clients at once on one server with the built-in model: is every answer the client's own, and does memory stay?

Each client has a clip of its own. What the model says about it alone is the truth: under load it must say the same.
Clients upload, ask, take questions back in the middle, ask for frames only, and leave without a word. Run it with
`python -m bench.load`; a short look: `--clients 4 --minutes 0.5`.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from bench.evidence import write_scenes
from longva_demo.doctor import server_figures
from longva_demo.tiny.clips import needles
from longva_demo.tiny.questions import Asked

PORT, BUDGET, QUESTION_SECONDS = 7917, 16, 300
UNLIMITED = {f"LONGVA_MAX_{what}_PER_MINUTE": "1000000" for what in ("QUESTIONS", "EVENTS")}
SETTINGS = {"LONGVA_MODEL": "tiny", "LONGVA_LOG": "nothing", **UNLIMITED}


@dataclass
class Tally:
    """What happened, by kind; how long answers took, in seconds; what went wrong, in words."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, seconds: float | None = None, wrong: str | None = None) -> None:
        with self.guard:
            self.counts[kind] += 1
            self.seconds += [] if seconds is None else [seconds]
            self.wrong += [] if wrong is None else [wrong]


@dataclass
class Visitor:
    """A client with its clip, a question on it, and what the model says to that when it is alone."""

    clip: Path
    asked: Asked
    truth: str = ""

    def ask(self, client: Client) -> str:
        return str(client.predict(self.asked.question, handle_file(self.clip), BUDGET, api_name="/chat"))

    def visit(self, address: str, tally: Tally, until: float, seed: int) -> None:
        rng = random.Random(seed)
        client = connect(address)
        while time.monotonic() < until:
            started, lot = time.monotonic(), rng.random()
            try:
                if lot < 0.7:
                    answer = self.ask(client)
                    wrong = None if answer == self.truth else f"{self.clip.name}: {answer!r}, alone {self.truth!r}"
                    tally.add("answered", time.monotonic() - started, wrong)
                elif lot < 0.8:
                    job = client.submit(self.asked.question, handle_file(self.clip), BUDGET, api_name="/chat")
                    time.sleep(rng.uniform(0, 2))
                    job.cancel()
                    tally.add("taken back")
                elif lot < 0.9:
                    found = client.predict(handle_file(self.clip), BUDGET, api_name="/sample_frames")
                    wrong = (
                        None if len(found["frames"]) == BUDGET else f"{self.clip.name}: {len(found['frames'])} frames"
                    )
                    tally.add("frames only", wrong=wrong)
                else:
                    client.submit(self.asked.question, handle_file(self.clip), BUDGET, api_name="/chat")
                    time.sleep(rng.uniform(0, 1))
                    client.close()
                    client = connect(address)
                    tally.add("left")
            except AppError as error:
                is_full = "line is full" in str(error)
                tally.add("told that the line is full" if is_full else "error", wrong=None if is_full else str(error))
                time.sleep(rng.uniform(0, 2))
        client.close()


def make_visitors(folder: Path, count: int) -> list[Visitor]:
    """Clips with one digit each, of different lengths."""
    rng = random.Random(9_500_000)
    visitors: list[Visitor] = []
    while len(visitors) < count:
        episode = needles(rng, rng.choice((16, 32, 64)), 1, 1, letter_share=0.0)
        asked = next((one for one in episode.asked if one.task == "needle"), None)
        if asked is not None:
            clip = folder / f"clip-{len(visitors)}.mp4"
            write_scenes(clip, episode.frames)
            visitors.append(Visitor(clip, asked))
    return visitors


def connect(address: str) -> Client:
    """Patient: on few cores a request waits for many others."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": QUESTION_SECONDS})


def figures_of(address: str) -> dict[str, float]:
    """What the server says of itself, asked again while it is too busy to answer."""
    until = time.monotonic() + QUESTION_SECONDS
    while (figures := server_figures(address)) is None:
        assert time.monotonic() < until, "the server is gone"
        time.sleep(1)
    return figures


def memory(address: str) -> float:
    return figures_of(address)["resident_memory_bytes"] / 1e6


def start(address: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **SETTINGS}
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)], env=environment)
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    address = f"http://127.0.0.1:{PORT}"
    server = start(address)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(address, make_visitors(Path(folder), options.clients), 60 * options.minutes)
    finally:
        server.terminate()
        server.wait(30)


def run(address: str, visitors: list[Visitor], seconds: float) -> None:
    alone = connect(address)
    for visitor in visitors:
        visitor.truth = visitor.ask(alone)
    tally, begin = Tally(), time.monotonic()
    threads = [
        threading.Thread(target=visitor.visit, args=(address, tally, begin + seconds, seed), daemon=True)
        for seed, visitor in enumerate(visitors)
    ]
    for thread in threads:
        thread.start()
    memories, delays = [], []
    while time.monotonic() < begin + seconds:
        time.sleep(min(5.0, seconds / 10))
        asked = time.monotonic()
        memories.append(memory(address))
        delays.append(time.monotonic() - asked)
    for thread in threads:
        thread.join(QUESTION_SECONDS)
    stuck = sum(thread.is_alive() for thread in threads)
    figures = figures_of(address)
    print(f"\n{len(visitors)} clients for {seconds / 60:.1f} minutes")
    print(f"{dict(tally.counts)}")
    print(f"wrong or failed: {len(tally.wrong)}; stuck: {stuck}; still running: {figures['running']:.0f}")
    print(f"seconds to the answer: median {median(tally.seconds):.1f}, longest {max(tally.seconds):.1f}")
    print(f"seconds to /metrics meanwhile: median {median(delays):.2f}, longest {max(delays):.2f}")
    tenths = [f"{max(memories[k * len(memories) // 10 :][: len(memories) // 10 or 1]):.0f}" for k in range(10)]
    early, late = memories[len(memories) // 5], memory(address)
    print(f"memory, MB, the most in each tenth of the time: {', '.join(tenths)}")
    print(f"memory, MB, after a fifth of the time {early:.0f}, at the end {late:.0f}: {late / early:.2f} of it")
    for line in tally.wrong[:5]:
        print(line)


if __name__ == "__main__":
    main()
