"""Results of a load test: counts, a report, and whether it passed."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles

MAX_GROWTH = 1.1


@dataclass
class Tally:
    """Requests by kind, latencies in seconds, and descriptions of errors. Thread-safe."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    checked: int = 0
    rejected: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str) -> None:
        with self.lock:
            self.counts[kind] += 1

    def check(self, what: str, actual: object, expected: object) -> None:
        with self.lock:
            self.checked += 1
            self.wrong += [] if actual == expected else [f"{what}: {actual!r}, expected {expected!r}"]

    def add_latency(self, seconds: float) -> None:
        with self.lock:
            self.seconds.append(seconds)

    def fail(self, error: Exception) -> None:
        """Count a failed request. A full queue is expected under load; anything else is a failure."""
        with self.lock:
            if "queue is full" in str(error):
                self.rejected += 1
            else:
                self.failed.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class End:
    """The state after the test, once all clients had time to finish. Memory in MB."""

    stuck: int  # clients
    running: int  # questions
    pages: int
    early: float  # memory after a fifth of the time
    late: float  # memory at the end

    @property
    def growth(self) -> float:
        return self.late / self.early


def failures(tally: Tally, end: End) -> list[str]:
    """Why the run failed; empty if it passed."""
    found = {
        "no answer was checked": not tally.checked,
        f"{len(tally.wrong)} wrong answers": tally.wrong,
        f"{len(tally.failed)} failed requests": tally.failed,
        f"{end.stuck} clients stuck": end.stuck,
        f"{end.running} questions still running": end.running,
        f"{end.pages} pages not released": end.pages,
        f"memory grew by a factor of {end.growth:.2f}": end.growth > MAX_GROWTH,
    }
    return [message for message, is_failure in found.items() if is_failure]


def report(tally: Tally, end: End) -> str:
    """A human-readable summary."""
    done = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.counts.items()))
    times = quantiles(tally.seconds, n=20, method="inclusive") if len(tally.seconds) > 1 else [0.0] * 19
    return "\n".join(
        (
            f"requests: {done}",
            f"answers checked: {tally.checked:,}, wrong: {len(tally.wrong)}; failed: {len(tally.failed)}, "
            f"stuck: {end.stuck + end.running}, queue full: {tally.rejected}",
            f"latency of answers, s: median {times[9]:.1f}, 95th percentile {times[18]:.1f}",
            f"memory, MB: {end.early:.0f} after a fifth of the time, {end.late:.0f} at the end, ratio {end.growth:.2f}",
        )
    )
