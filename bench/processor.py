"""LongVA-7B on the CPU in 8 bits, end to end: a full-size checkpoint, from loading to the answer of a second question.

    python scripts/make_random_checkpoint.py random-7b
    python -m bench.processor random-7b --frames 2 8

Random weights take as long as the published ones, apart from the text: their tokenizer has no merges, so that text is
a few times as many tokens. Needs 16 GB of disk and 10 GB of memory. Each budget runs in its own process.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import rows
from bench.process import run_in_process

QUESTIONS = ("What happens?", "And then?")
NEW_TOKENS = 32
TARGET_FRAMES = 8
# Targets: seconds to load, to the first word about 8 frames and about a second question; tokens per second; bytes.
TARGETS = {"load": 60.0, "first": 100.0, "second": 6.0, "rate": 2.1, "bytes": 10e9}
MAX_ESTIMATE_ERROR = 0.3


def make_clip(path: str) -> None:
    from bench.clips import write_clip

    write_clip(Path(path), 10, 10, 640, 360)


def anonymous_bytes() -> int:
    """Resident memory that no file backs, from /proc; the embedding's pages belong to its file."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def measure(checkpoint: str, clip: str, num_frames: int) -> dict[str, Any]:
    """Seconds of each part, the longest silence before the first word, and the estimates made before."""
    from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
    from longva_demo.settings import Settings
    from longva_demo.video import plan_frames, probe

    started = time.perf_counter()
    engine = LocalEngine.from_settings(Settings(model=checkpoint, device="cpu"))
    found: dict[str, Any] = {"load": time.perf_counter() - started, "quant": engine.loaded.quant}
    found["loaded_bytes"] = anonymous_bytes()
    estimate = engine.loaded.estimate
    assert estimate is not None, "the checkpoint is not of LongVA-7B's size"
    found["expected_first"], found["expected_rate"] = estimate.first_word(num_frames), 1 / estimate.token(num_frames)
    found |= {f"probed_{name}": value / 1e9 for name, value in asdict(estimate.speed).items()}
    session = ChatSession(engine)
    info = probe(Path(clip))
    session.set_source(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    for name, question in zip(("first", "second"), QUESTIONS, strict=True):
        last, silence = time.perf_counter(), 0.0
        for _ in session.ask(question, Sampling(max_new_tokens=NEW_TOKENS)):
            now = time.perf_counter()
            silence, last = max(silence, now - last), now
        stats = session.turns[-1].stats
        found |= {name: stats.seconds_to_first_token, f"{name}_silence": silence, "rate": stats.tokens_per_second}
        found[f"{name}_tokens"] = stats.num_tokens
    found["bytes"] = anonymous_bytes()
    session.close()
    return found


def report(num_frames: int, found: dict[str, Any]) -> None:
    """Rows for what was measured: against the targets, and against the estimates."""
    what = f"LongVA-7B in 8 bits on the CPU, {num_frames} frames"
    gigabytes = found["bytes"] / 1e9
    measured = [
        ("loading", "load", found["load"], "s"),
        (
            f"second question to its first word, {found['second_tokens']:,} tokens in all",
            "second",
            found["second"],
            "s",
        ),
    ]
    if num_frames == TARGET_FRAMES:
        measured.insert(1, (f"first word, {found['first_tokens']:,} tokens", "first", found["first"], "s"))
    for words, key, seconds, unit in measured:
        rows.add(
            f"{what}, {words}",
            f"target: {TARGETS[key]:.0f} {unit}",
            f"{seconds:.1f} {unit}",
            rows.times(TARGETS[key], seconds),
        )
    rows.add(
        f"{what}, tokens per second",
        f"target: {TARGETS['rate']}",
        f"{found['rate']:.2f}",
        f"{found['rate'] / TARGETS['rate']:.2f} of the target",
    )
    rows.add(
        f"{what}, anonymous memory",
        f"target: {TARGETS['bytes'] / 1e9:.0f} GB",
        f"{gigabytes:.2f} GB",
        rows.times(TARGETS["bytes"] / 1e9, gigabytes),
    )
    rows.add(
        f"{what}, longest time without progress",
        "target: 10 s",
        f"{found['first_silence']:.1f} s",
        rows.times(10, found["first_silence"]),
    )
    for words, expected, key in (
        ("first word", "expected_first", "first"),
        ("tokens per second", "expected_rate", "rate"),
    ):
        error = found[key] / found[expected] - 1
        rows.add(
            f"{what}, {words} against the estimate",
            f"estimate: {found[expected]:.2f}",
            f"{found[key]:.2f}",
            f"{error:+.0%} (target: within {MAX_ESTIMATE_ERROR:.0%})",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 8])
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        run_in_process("bench.processor:make_clip", path=str(clip))
        for num_frames in options.frames:
            found = run_in_process(
                "bench.processor:measure", checkpoint=str(options.checkpoint), clip=str(clip), num_frames=num_frames
            )
            print({key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()})
            report(num_frames, found)


if __name__ == "__main__":
    main()
