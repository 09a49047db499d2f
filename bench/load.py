"""Many clients at once on one server with the built-in model: is every answer the client's own, and does memory stay?

Each client has a clip of its own. What the model says about the clips alone is the truth: under load it must say the
same. Half of the clients use the API: they ask, take questions back in the middle, ask for frames only, leave without
a word, and break off uploads. The others are tabs of the page: they look, ask and ask again, at other clients' clips
too, come back to a clip, forget, and close. The server has little memory for what was read, so that it has to drop
some and read it again.

It ends with 1 where an answer was wrong, something failed or hung, or the memory grew by more than a tenth after a
fifth of the time. Run it with `python -m bench.load`; a short look: `--clients 4 --minutes 0.5`.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gradio_client import Client, handle_file

from bench.attribution import write_scenes
from bench.tab import Tab
from bench.tally import End, Tally, failures, statement
from longva_demo.cli.doctor import server_figures
from longva_demo.tiny.clips import needles

PORT, BUDGET, QUESTION_SECONDS = 7917, 16, 300
UNLIMITED = {f"LONGVA_MAX_{what}_PER_MINUTE": "1000000" for what in ("QUESTIONS", "EVENTS")}
SETTINGS = {"LONGVA_MODEL": "tiny", "LONGVA_LOG": "nothing", **UNLIMITED}


@dataclass
class Visitor:
    """A client's clip, two questions on it, and what the model says to them one after the other when it is alone."""

    clip: Path
    questions: tuple[str, ...]
    truths: tuple[str, ...] = ()

    def learn(self, address: str) -> None:
        with closing(open_tab(address)) as tab:
            file = tab.upload(self.clip)
            self.truths = tuple(tab.ask(question, file)["answer"] for question in self.questions)


class ApiClient:
    """Asks about one clip through /chat and /sample_frames, which keep nothing between calls."""

    def __init__(self, address: str, visitor: Visitor, tally: Tally, rng: random.Random) -> None:
        self.address, self.visitor, self.tally, self.rng = address, visitor, tally, rng
        self.client = connect(address)

    def act(self) -> None:
        ways: list[Callable[[], None]] = [self.take_back, self.frames_only, self.leave, self.break_off_upload]
        self.rng.choices([self.ask, *ways], [6, 1, 1, 1, 1])[0]()

    def ask(self) -> None:
        started = time.monotonic()
        said = self.client.predict(*self._fields(), api_name="/chat")
        self.tally.took(time.monotonic() - started)
        self.tally.check(self.visitor.clip.name, said, self.visitor.truths[0])
        self.tally.add("asked")

    def take_back(self) -> None:
        job = self.client.submit(*self._fields(), api_name="/chat")
        time.sleep(self.rng.uniform(0, 2))
        job.cancel()
        self.tally.add("taken back")

    def frames_only(self) -> None:
        found = self.client.predict(handle_file(self.visitor.clip), BUDGET, api_name="/sample_frames")
        self.tally.check(f"frames of {self.visitor.clip.name}", len(found["frames"]), BUDGET)
        self.tally.add("frames only")

    def leave(self) -> None:
        self.client.submit(*self._fields(), api_name="/chat")
        time.sleep(self.rng.uniform(0, 1))
        self.client.close()
        self.client = connect(self.address)
        self.tally.add("left")

    def break_off_upload(self) -> None:
        break_off_upload(self.visitor.clip)
        self.tally.add("upload broken off")

    def close(self) -> None:
        self.client.close()

    def _fields(self) -> tuple[object, ...]:
        return self.visitor.questions[0], handle_file(self.visitor.clip), BUDGET


class PageClient:
    """Opens a tab, looks at its own clip, at another client's, and at its own again, with two questions each time."""

    def __init__(self, address: str, visitor: Visitor, others: list[Visitor], tally: Tally, rng: random.Random) -> None:
        self.address, self.visitor, self.others, self.tally, self.rng = address, visitor, others, tally, rng

    def act(self) -> None:
        with closing(open_tab(self.address)) as tab:
            other = self.rng.choice(self.others)
            files = {visitor.clip: tab.upload(visitor.clip) for visitor in (self.visitor, other)}
            for visitor, was_read in ((self.visitor, False), (other, False), (self.visitor, True)):
                tab.look(files[visitor.clip])
                self.tally.add("looked")
                self.ask(tab, visitor, files[visitor.clip], was_read)
                if self.rng.random() < 0.3:
                    tab.forget()
                    self.tally.add("forgot")
                    self.ask(tab, visitor, files[visitor.clip], True)
            if self.rng.random() < 0.3:
                tab.ask_and_close(self.visitor.questions[0], files[self.visitor.clip])
        self.tally.add("tab closed")

    def ask(self, tab: Tab, visitor: Visitor, file: dict[str, object], was_read: bool) -> None:
        """Both questions; `was_read`: this tab asked about the clip before."""
        for question, truth in zip(visitor.questions, visitor.truths, strict=True):
            started = time.monotonic()
            entry = tab.ask(question, file)
            self.tally.took(time.monotonic() - started)
            tab.weigh()
            self.tally.check(f"{visitor.clip.name} on the page", entry["answer"], truth)
            self.tally.add("asked on the page")
            if was_read:
                is_kept = any(line["key"] == "stats.reused" for line in entry["stats"])
                self.tally.add("clip still kept" if is_kept else "clip dropped, read again")
            was_read = True

    def close(self) -> None:
        """Its tabs are closed already."""


def keep_at_it(client: ApiClient | PageClient, tally: Tally, until: float) -> None:
    """What fails counts, and the client goes on."""
    while time.monotonic() < until:
        try:
            client.act()
        except Exception as error:
            tally.fail(error)
            time.sleep(client.rng.uniform(0, 2))
    client.close()


def break_off_upload(clip: Path) -> None:
    """Send a part of a clip, and hang up."""
    body = b'--part\r\nContent-Disposition: form-data; name="files"; filename="clip.mp4"\r\n\r\n' + clip.read_bytes()
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=part\r\n\r\n"
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])


def make_visitors(folder: Path, count: int) -> list[Visitor]:
    """Clips with one digit each, of different lengths."""
    rng = random.Random(9_500_000)
    visitors: list[Visitor] = []
    while len(visitors) < count:
        episode = needles(rng, rng.choice((16, 32, 64)), 1, 2, letter_share=0.0)
        asked = sorted(episode.asked, key=lambda one: one.task != "needle")
        if len(asked) == 2 and asked[0].task == "needle":
            clip = folder / f"clip-{len(visitors)}.mp4"
            write_scenes(clip, episode.frames)
            visitors.append(Visitor(clip, tuple(one.question for one in asked)))
    return visitors


def connect(address: str) -> Client:
    """Patient: on few cores a request waits for many others."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": QUESTION_SECONDS})


def open_tab(address: str) -> Tab:
    return Tab(address, BUDGET, QUESTION_SECONDS)


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
    server = subprocess.Popen([sys.executable, "-m", "bench.tight", "--port", str(PORT)], env=environment)
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    address = f"http://127.0.0.1:{PORT}"
    server = start(address)
    try:
        with tempfile.TemporaryDirectory() as folder:
            failed = run(address, make_visitors(Path(folder), options.clients), 60 * options.minutes)
    finally:
        server.terminate()
        server.wait(30)
    print(f"FAILED: {'; '.join(failed)}" if failed else "passed")
    return 1 if failed else 0


def run(address: str, visitors: list[Visitor], seconds: float) -> list[str]:
    """Let the clients at the server; say how it went, and return what went wrong."""
    for visitor in visitors:
        visitor.learn(address)
    tally, begin = Tally(), time.monotonic()
    threads = []
    for number, visitor in enumerate(visitors):
        rng, others = random.Random(number), [one for one in visitors if one is not visitor]
        client = (
            PageClient(address, visitor, others, tally, rng) if number % 2 else ApiClient(address, visitor, tally, rng)
        )
        threads.append(threading.Thread(target=keep_at_it, args=(client, tally, begin + seconds), daemon=True))
    for thread in threads:
        thread.start()
    memories, delays = [], []
    while time.monotonic() < begin + seconds:
        time.sleep(min(5.0, seconds / 10))
        asked = time.monotonic()
        memories.append(memory(address))
        delays.append(time.monotonic() - asked)
    end = wait_for_all(address, threads, memories[len(memories) // 5])
    tenths = [f"{max(memories[k * len(memories) // 10 :][: len(memories) // 10 or 1]):.0f}" for k in range(10)]
    print(f"\n{len(visitors)} clients for {seconds / 60:.1f} minutes")
    print(f"memory, MB, the most in each tenth of the time: {', '.join(tenths)}")
    print(f"seconds to /metrics meanwhile: median {median(delays):.2f}, longest {max(delays):.2f}")
    print(statement(tally, end))
    for line in [*tally.wrong[:5], *tally.failed[:5]]:
        print(line)
    return failures(tally, end)


def wait_for_all(address: str, threads: list[threading.Thread], early: float) -> End:
    """Give everybody time to finish, and the server to see that they are gone."""
    until = time.monotonic() + QUESTION_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    while (figures := figures_of(address))["running"] + figures["pages"] and time.monotonic() < until:
        time.sleep(1)
    stuck = sum(thread.is_alive() for thread in threads)
    return End(stuck, int(figures["running"]), int(figures["pages"]), early, memory(address))


if __name__ == "__main__":
    sys.exit(main())
