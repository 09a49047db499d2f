"""Accuracy and cost of attribution: do the named frames show what was asked for? Uses needle clips.

A clip shows one digit in one or two frames, and the question asks for it. For correct answers of the bundled model,
reports how often a needle frame ranks first and in the top three, by attention alone and after occlusion. Also
reports how often the drop is clear, how well the answer's own probability separates right from wrong answers, and
what both steps cost. Run it with `python -m bench.attribution`; for part of the clips, `--share 0.2`. Option
`--lowest-layer 1` takes the attention of all layers but the first instead of the upper half.
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from longva_demo.chat import ChatSession, LocalEngine, VideoSource, local_engine
from longva_demo.chat.attribution import MIN_DROP
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.tiny.questions import QAPair
from longva_demo.video import plan_frames, probe
from tests.support.needle_clips import clips, write_scenes

CLIPS = {16: 150, 64: 120, 256: 80, 1024: 40}


@dataclass
class Tally:
    """One entry per answer in each list, and total seconds. Ranks are of the best needle frame; 0 is first."""

    right: list[bool] = field(default_factory=list)
    attention_ranks: list[int] = field(default_factory=list)
    occlusion_ranks: list[int] = field(default_factory=list)
    log_prob_drops: list[float] = field(default_factory=list)  # the largest per answer, in nats
    log_probabilities: list[float] = field(default_factory=list)
    answer_seconds: float = 0.0
    sweep_seconds: float = 0.0
    occlusion_seconds: float = 0.0


def measure(engine: LocalEngine, path: Path, asked: QAPair, needle_frames: set[int], tally: Tally) -> None:
    info = probe(path)
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, info.num_frames), engine.processor))
    list(session.ask(asked.question))
    turn = session.turns[-1]
    assert turn.attribution is not None
    tally.right.append(turn.answer == asked.answer)
    tally.log_probabilities.append(turn.stats.log_probability)
    tally.answer_seconds += turn.stats.seconds - turn.stats.seconds_to_prefill
    attention = turn.attribution.attention
    order = sorted(range(len(attention)), key=lambda frame: -attention[frame])
    tally.attention_ranks.append(min(order.index(frame) for frame in needle_frames))
    started = time.perf_counter()
    attributed = session.attribute_last_answer()
    tally.occlusion_seconds += time.perf_counter() - started
    assert attributed is not None
    assert attributed.attribution is not None
    drops = attributed.attribution.log_prob_drops or ()
    ranks = (rank for rank, (frame, _) in enumerate(drops) if frame in needle_frames)
    tally.occlusion_ranks.append(next(ranks, len(attention)))
    tally.log_prob_drops.append(drops[0][1] if drops else 0.0)
    session.close()


def separation(values: list[float], right: list[bool]) -> float:
    """AUC: the probability that a right answer has a higher value than a wrong one."""
    good = [value for value, is_right in zip(values, right, strict=True) if is_right]
    bad = [value for value, is_right in zip(values, right, strict=True) if not is_right]
    pairs = [(one > other) + 0.5 * (one == other) for one in good for other in bad]
    return sum(pairs) / len(pairs) if pairs else float("nan")


def time_sweeps(engine: LocalEngine, tally: Tally) -> None:
    """Add up the seconds of the attention sweeps over the KV cache."""
    plain = engine.attribute_frames

    def timed(*arguments: object) -> object:
        started = time.perf_counter()
        result = plain(*arguments)  # type: ignore[arg-type]
        tally.sweep_seconds += time.perf_counter() - started
        return result

    engine.attribute_frames = timed  # type: ignore[method-assign, assignment]


def row(num_frames: int, tally: Tally) -> str:
    right = [at for at, is_right in enumerate(tally.right) if is_right]
    wrong = [at for at, is_right in enumerate(tally.right) if not is_right]

    def hits(ranks: list[int], top: int) -> str:
        return f"{sum(ranks[at] < top for at in right) / max(1, len(right)):.2f}"

    def clear(answers: list[int]) -> str:
        return f"{sum(tally.log_prob_drops[at] >= MIN_DROP for at in answers) / len(answers):.2f}" if answers else "–"

    cells = [
        f"{num_frames:,}",
        f"{len(tally.right)}",
        f"{len(right)}",
        f"{hits(tally.attention_ranks, 1)} / {hits(tally.attention_ranks, 3)}",
        f"{hits(tally.occlusion_ranks, 1)} / {hits(tally.occlusion_ranks, 3)}",
        f"{clear(right)} / {clear(wrong)}",
        f"{separation(tally.log_probabilities, tally.right):.2f}",
        f"{tally.sweep_seconds / tally.answer_seconds:.1%}",
        f"{1000 * tally.occlusion_seconds / len(tally.right):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--lowest-layer", type=int)
    options = parser.parse_args()
    share, lowest = options.share, options.lowest_layer
    if lowest is not None:
        local_engine.attention_layers = lambda num_layers: range(lowest, num_layers)
    engine = LocalEngine(load("tiny"), Settings(max_new_tokens=48))
    print(
        "| frames | clips | right | by attention, first / top 3 | after occlusion | clear drop, right / wrong "
        "| AUC of probability | sweep, share of the answer | occlusion, ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        for num_frames, count in CLIPS.items():
            tally = Tally()
            plain = engine.attribute_frames
            time_sweeps(engine, tally)
            for scenes, asked, needle_frames in clips(num_frames, max(2, round(share * count))):
                path = Path(folder) / "clip.mp4"
                write_scenes(path, scenes)
                measure(engine, path, asked, needle_frames, tally)
            engine.attribute_frames = plain  # type: ignore[method-assign]
            print(row(num_frames, tally), flush=True)


if __name__ == "__main__":
    main()
