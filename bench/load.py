"""Load test: many concurrent clients on one server with the built-in model. Are answers correct and is memory stable?

Each client has its own clip. The answers that the model gives without load are the expected ones. Half of the clients
use the API: they ask, cancel questions, request frames only, disconnect, and abort uploads. The others are tabs of the
page: they select their own and other clients' clips, ask, return to a clip, clear the chat, and close. The server has
little memory for KV caches, so that it has to evict prefixes and recompute them.

The exit code is 1 if an answer was wrong, a request failed or hung, or memory grew by more than a tenth after the first
fifth of the time. Run it with `python -m bench.load`; for a quick run: `--clients 4 --minutes 0.5`.
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

from bench.tab import Tab
from bench.tally import End, Tally, failures, report
from longva_demo.cli.doctor import server_metrics
from longva_demo.tiny.clips import needles
from tests.support.needle_clips import write_scenes

PORT, BUDGET, QUESTION_SECONDS = 7917, 16, 300
UNLIMITED = {f"LONGVA_MAX_{what}_PER_MINUTE": "1000000" for what in ("QUESTIONS", "EVENTS")}
SETTINGS = {"LONGVA_MODEL": "tiny", "LONGVA_LOG": "nothing", **UNLIMITED}


@dataclass
class Scenario:
    """A client's clip, two questions about it, and the answers that the model gives in sequence without load."""

    clip: Path
    questions: tuple[str, ...]
    expected: tuple[str, ...] = ()

    def record_answers(self, address: str) -> None:
        with closing(open_tab(address)) as tab:
            file = tab.upload(self.clip)
            self.expected = tuple(tab.ask(question, file)["answer"] for question in self.questions)


class ApiClient:
    """Asks about one clip through the stateless endpoints /chat and /sample_frames."""

    def __init__(self, address: str, scenario: Scenario, tally: Tally, rng: random.Random) -> None:
        self.address, self.scenario, self.tally, self.rng = address, scenario, tally, rng
        self.client = connect(address)

    def act(self) -> None:
        others: list[Callable[[], None]] = [self.cancel, self.sample_frames, self.disconnect, self.abort_upload]
        self.rng.choices([self.ask, *others], [6, 1, 1, 1, 1])[0]()

    def ask(self) -> None:
        started = time.monotonic()
        answer = self.client.predict(*self._fields(), api_name="/chat")
        self.tally.add_latency(time.monotonic() - started)
        self.tally.check(self.scenario.clip.name, answer, self.scenario.expected[0])
        self.tally.add("API questions")

    def cancel(self) -> None:
        job = self.client.submit(*self._fields(), api_name="/chat")
        time.sleep(self.rng.uniform(0, 2))
        job.cancel()
        self.tally.add("cancelled questions")

    def sample_frames(self) -> None:
        found = self.client.predict(handle_file(self.scenario.clip), BUDGET, api_name="/sample_frames")
        self.tally.check(f"frames of {self.scenario.clip.name}", len(found["frames"]), BUDGET)
        self.tally.add("frame requests")

    def disconnect(self) -> None:
        self.client.submit(*self._fields(), api_name="/chat")
        time.sleep(self.rng.uniform(0, 1))
        self.client.close()
        self.client = connect(self.address)
        self.tally.add("disconnects")

    def abort_upload(self) -> None:
        abort_upload(self.scenario.clip)
        self.tally.add("aborted uploads")

    def close(self) -> None:
        self.client.close()

    def _fields(self) -> tuple[object, ...]:
        return self.scenario.questions[0], handle_file(self.scenario.clip), BUDGET


class PageClient:
    """Opens a tab and asks two questions each about its own clip, another client's clip, and its own clip again."""

    def __init__(
        self, address: str, scenario: Scenario, others: list[Scenario], tally: Tally, rng: random.Random
    ) -> None:
        self.address, self.scenario, self.others, self.tally, self.rng = address, scenario, others, tally, rng

    def act(self) -> None:
        with closing(open_tab(self.address)) as tab:
            other = self.rng.choice(self.others)
            files = {scenario.clip: tab.upload(scenario.clip) for scenario in (self.scenario, other)}
            for scenario, is_known in ((self.scenario, False), (other, False), (self.scenario, True)):
                tab.select(files[scenario.clip])
                self.tally.add("selections")
                self.ask(tab, scenario, files[scenario.clip], is_known)
                if self.rng.random() < 0.3:
                    tab.clear()
                    self.tally.add("cleared chats")
                    self.ask(tab, scenario, files[scenario.clip], True)
            if self.rng.random() < 0.3:
                tab.ask_and_close(self.scenario.questions[0], files[self.scenario.clip])
        self.tally.add("closed tabs")

    def ask(self, tab: Tab, scenario: Scenario, file: dict[str, object], is_known: bool) -> None:
        """Ask both questions. `is_known`: this tab has asked about the clip before."""
        for question, expected in zip(scenario.questions, scenario.expected, strict=True):
            started = time.monotonic()
            entry = tab.ask(question, file)
            self.tally.add_latency(time.monotonic() - started)
            tab.attribute()
            self.tally.check(f"{scenario.clip.name} on the page", entry["answer"], expected)
            self.tally.add("page questions")
            if is_known:
                is_hit = any(message["key"] == "stats.reused" for message in entry["stats"])
                self.tally.add("prefix cache hits" if is_hit else "prefix cache misses")
            is_known = True

    def close(self) -> None:
        """Nothing to do: every tab is closed after use."""


def run_client(client: ApiClient | PageClient, tally: Tally, until: float) -> None:
    """Let a client act until the time is over. Errors are counted and do not stop it."""
    while time.monotonic() < until:
        try:
            client.act()
        except Exception as error:
            tally.fail(error)
            time.sleep(client.rng.uniform(0, 2))
    client.close()


def abort_upload(clip: Path) -> None:
    """Send half of an upload, then disconnect."""
    body = b'--part\r\nContent-Disposition: form-data; name="files"; filename="clip.mp4"\r\n\r\n' + clip.read_bytes()
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=part\r\n\r\n"
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])


def make_scenarios(folder: Path, count: int) -> list[Scenario]:
    """Write clips of different lengths with one digit each."""
    rng = random.Random(9_500_000)
    scenarios: list[Scenario] = []
    while len(scenarios) < count:
        episode = needles(rng, rng.choice((16, 32, 64)), 1, 2, letter_share=0.0)
        asked = sorted(episode.asked, key=lambda one: one.task != "needle")
        if len(asked) == 2 and asked[0].task == "needle":
            clip = folder / f"clip-{len(scenarios)}.mp4"
            write_scenes(clip, episode.frames)
            scenarios.append(Scenario(clip, tuple(one.question for one in asked)))
    return scenarios


def connect(address: str) -> Client:
    """A client with a long timeout: on few cores a request waits for many others."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": QUESTION_SECONDS})


def open_tab(address: str) -> Tab:
    return Tab(address, BUDGET, QUESTION_SECONDS)


def figures_of(address: str) -> dict[str, float]:
    """The server's metrics. Retries while it is too busy to respond."""
    until = time.monotonic() + QUESTION_SECONDS
    while (figures := server_metrics(address)) is None:
        assert time.monotonic() < until, "the server does not respond"
        time.sleep(1)
    return figures


def memory(address: str) -> float:
    return figures_of(address)["resident_memory_bytes"] / 1e6


def start(address: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **SETTINGS}
    server = subprocess.Popen([sys.executable, "-m", "bench.low_memory", "--port", str(PORT)], env=environment)
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
            failed = run(address, make_scenarios(Path(folder), options.clients), 60 * options.minutes)
    finally:
        server.terminate()
        server.wait(30)
    print(f"FAILED: {'; '.join(failed)}" if failed else "passed")
    return 1 if failed else 0


def run(address: str, scenarios: list[Scenario], seconds: float) -> list[str]:
    """Run all clients, print a report, and return the failures."""
    for scenario in scenarios:
        scenario.record_answers(address)
    tally, begin = Tally(), time.monotonic()
    threads = []
    for number, scenario in enumerate(scenarios):
        rng, others = random.Random(number), [other for other in scenarios if other is not scenario]
        client = (
            PageClient(address, scenario, others, tally, rng)
            if number % 2
            else ApiClient(address, scenario, tally, rng)
        )
        threads.append(threading.Thread(target=run_client, args=(client, tally, begin + seconds), daemon=True))
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
    print(f"\n{len(scenarios)} clients for {seconds / 60:.1f} minutes")
    print(f"peak memory in each tenth of the time, MB: {', '.join(tenths)}")
    print(f"latency of /metrics, s: median {median(delays):.2f}, maximum {max(delays):.2f}")
    print(report(tally, end))
    for line in [*tally.wrong[:5], *tally.failed[:5]]:
        print(line)
    return failures(tally, end)


def wait_for_all(address: str, threads: list[threading.Thread], early: float) -> End:
    """Give the clients time to finish, and the server time to release their pages."""
    until = time.monotonic() + QUESTION_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    while (figures := figures_of(address))["running"] + figures["pages"] and time.monotonic() < until:
        time.sleep(1)
    stuck = sum(thread.is_alive() for thread in threads)
    return End(stuck, int(figures["running"]), int(figures["pages"]), early, memory(address))


if __name__ == "__main__":
    sys.exit(main())
