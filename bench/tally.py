"""What many clients at once came to: the counts, how it is told, and whether it was a success."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles

MAX_GROWTH = 1.1


@dataclass
class Tally:
    """What happened, by kind; how long answers took, in seconds; what went wrong, in words."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    checked: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str) -> None:
        with self.guard:
            self.counts[kind] += 1

    def check(self, what: str, said: object, truth: object) -> None:
        with self.guard:
            self.checked += 1
            self.wrong += [] if said == truth else [f"{what}: {said!r}, alone {truth!r}"]

    def took(self, seconds: float) -> None:
        with self.guard:
            self.seconds.append(seconds)

    def fail(self, error: Exception) -> None:
        """A full line is what the server promises; anything else counts against it."""
        with self.guard:
            if "line is full" in str(error):
                self.refused += 1
            else:
                self.failed.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class End:
    """What was left once the time was over and everybody had had time to finish; memory in MB."""

    stuck: int  # clients
    running: int  # questions
    pages: int
    early: float  # after a fifth of the time
    late: float

    @property
    def growth(self) -> float:
        return self.late / self.early


def failures(tally: Tally, end: End) -> list[str]:
    """Why the run is no success; empty where it is one."""
    found = {
        "no answer was checked": not tally.checked,
        f"{len(tally.wrong)} wrong answers": tally.wrong,
        f"{len(tally.failed)} failed requests": tally.failed,
        f"{end.stuck} clients stuck": end.stuck,
        f"{end.running} questions still running": end.running,
        f"{end.pages} closed pages still kept": end.pages,
        f"memory grew to {end.growth:.2f} of what it was": end.growth > MAX_GROWTH,
    }
    return [line for line, is_so in found.items() if is_so]


def statement(tally: Tally, end: End) -> str:
    """How it went, for a person."""
    done = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.counts.items()))
    times = quantiles(tally.seconds, n=20, method="inclusive") if len(tally.seconds) > 1 else [0.0] * 19
    return "\n".join(
        (
            f"requests: {done}",
            f"answers checked: {tally.checked:,}, wrong: {len(tally.wrong)}; failed: {len(tally.failed)}, "
            f"stuck: {end.stuck + end.running}, told that the line is full: {tally.refused}",
            f"seconds to the answer: median {times[9]:.1f}, 95th percentile {times[18]:.1f}",
            f"memory, MB, after a fifth of the time {end.early:.0f}, at the end {end.late:.0f}: {end.growth:.2f} of it",
        )
    )
