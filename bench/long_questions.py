"""The cost of one long question: its answer, its attribution, and the longest step that occupies the model.

While a step runs, no other visitor gets any text. Times are CPU seconds, which other programs do not affect. Each
length runs in its own process, with a clip of 64 frames and the bundled model. Run it with
`python -m bench.long_questions`; for other lengths, `--characters 300 3000`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.process import ProcessFailed, cpu_seconds, peak_bytes, run_in_process

CHARACTERS = (300, 3000, 6000, 20_000)
NUM_FRAMES = 64
WORDS = "Which of the things that move are red, which are blue, and where do they stand at the end? "


def make_clip(path: str) -> None:
    from bench.clips import write_clip

    write_clip(Path(path), NUM_FRAMES / 10, 10, 320, 180)


def measure(path: str, characters: int) -> dict[str, Any]:
    """CPU seconds of the answer and its attribution, of the longest step of each, and growth of peak memory."""
    from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
    from longva_demo.model import load
    from longva_demo.settings import Settings
    from longva_demo.video import plan_frames, probe

    engine = LocalEngine(load("tiny"), Settings())
    steps: list[float] = []
    submit: Any = engine._thread._executor.submit

    def timed(call: Callable[[], Any]) -> Any:
        def run() -> Any:
            started = cpu_seconds()
            try:
                return call()
            finally:
                steps.append(cpu_seconds() - started)

        return submit(run)

    engine._thread._executor.submit = timed  # type: ignore[method-assign, assignment]
    info = probe(path)
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, NUM_FRAMES), engine.processor))
    list(session.ask("Is there a red circle?"))
    session.clear()  # the video stays in the KV cache, so only the question is measured
    steps.clear()
    before, _ = peak_bytes()
    started = cpu_seconds()
    list(session.ask((WORDS * (characters // len(WORDS) + 1))[:characters], Sampling(max_new_tokens=32)))
    answered, longest = cpu_seconds() - started, max(steps)
    steps.clear()
    started = cpu_seconds()
    is_attributed = session.attribute_last_answer() is not None
    attribution = cpu_seconds() - started
    after, _ = peak_bytes()
    return {
        "tokens": len(session.turns[-1].question_ids),
        "answer": answered,
        "answer_step": longest,
        "is_attributed": is_attributed,
        "attribution": attribution,
        "attribution_step": max(steps, default=0.0),
        "attribution_steps": len(steps),
        "bytes": after - before,
    }


def row(characters: int, one: dict[str, Any]) -> str:
    cells = [
        f"{characters:,}",
        f"{one['tokens']:,}",
        f"{one['answer']:.2f}",
        f"{one['answer_step']:.2f}",
        "done" if one["is_attributed"] else "skipped",
        f"{one['attribution']:.2f}",
        f"{one['attribution_steps']:,}",
        f"{one['attribution_step']:.2f}",
        f"{one['bytes'] / 1e6:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, nargs="+", default=CHARACTERS)
    lengths = parser.parse_args().characters
    print(
        "| characters | tokens | answer, CPU s | longest step, s | attribution | attribution, CPU s | steps "
        "| longest step, s | memory above the video's, MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        run_in_process("bench.long_questions:make_clip", path=path)
        for characters in lengths:
            try:
                print(row(characters, run_in_process("bench.long_questions:measure", path=path, characters=characters)))
            except ProcessFailed as failure:
                print(f"| {characters:,} | not run: {failure} |", flush=True)


if __name__ == "__main__":
    main()
