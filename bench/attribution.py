"""Does the frame that the page names hold what was asked for? Needle clips and the bundled model.

A clip has one digit, in one frame or two; the question asks for it, and those frames are the truth. For answers that
are right: how often the truth comes first and among the first three, by attention alone and after hiding frames in
turn. Beside it: how often the fall is clear, how well the answer's own probability tells right from wrong, and what
both cost. Run it with `python -m bench.attribution`; a part of the clips with `--share 0.2`.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from longva_demo.chat import ChatSession, Engine, VideoSource
from longva_demo.chat.attribution import MIN_DROP
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.tiny.clips import needles
from longva_demo.tiny.draw import draw
from longva_demo.tiny.questions import Asked
from longva_demo.tiny.scenes import DIGITS, Scene
from longva_demo.video import plan_frames, probe

CLIPS = {16: 150, 64: 120, 256: 80, 1024: 40}
SIDE, FPS, SEED = 168, 10, 8_000_000


@dataclass
class Tally:
    """One entry an answer: right or not, hits, the fall in nats, log-probability, seconds."""

    right: list[bool] = field(default_factory=list)
    attention: list[int] = field(default_factory=list)  # rank of the best true frame, 0 is first
    hiding: list[int] = field(default_factory=list)
    log_prob_drops: list[float] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    answering: float = 0.0
    sweeping: float = 0.0
    trying: float = 0.0


def write_scenes(path: Path, scenes: tuple[Scene | None, ...]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        last, picture = None, np.zeros((SIDE, SIDE, 3), np.uint8)
        for scene in scenes:
            assert scene is not None
            picture = picture if scene is last else draw(scene, SIDE)
            last = scene
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def clips(num_frames: int, count: int) -> Iterator[tuple[tuple[Scene | None, ...], Asked, set[int]]]:
    """Scenes, a question for the one digit among them, and the places of the frames that show it."""
    rng = random.Random(SEED + num_frames)
    while count:
        episode = needles(rng, num_frames, 1, 1, letter_share=0.0)
        asked = next((one for one in episode.asked if one.task == "needle"), None)
        if asked is not None:
            count -= 1
            shown = [any(t.symbol < len(DIGITS) for t in scene.things) for scene in episode.frames if scene]
            yield episode.frames, asked, {place for place, holds in enumerate(shown) if holds}


def measure(engine: Engine, path: Path, asked: Asked, truth: set[int], tally: Tally) -> None:
    info = probe(path)
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, info.num_frames), engine.processor))
    list(session.ask(asked.question))
    turn = session.turns[-1]
    assert turn.attribution is not None
    tally.right.append(turn.answer == asked.answer)
    tally.log_probabilities.append(turn.stats.log_probability)
    tally.answering += turn.stats.seconds - turn.stats.seconds_to_prefill
    attention = turn.attribution.attention
    order = sorted(range(len(attention)), key=lambda place: -attention[place])
    tally.attention.append(min(order.index(place) for place in truth))
    started = time.perf_counter()
    tried = session.attribute_last_answer()
    tally.trying += time.perf_counter() - started
    assert tried is not None
    assert tried.attribution is not None
    log_prob_drops = tried.attribution.log_prob_drops or ()
    tally.hiding.append(
        next((rank for rank, (place, _) in enumerate(log_prob_drops) if place in truth), len(attention))
    )
    tally.log_prob_drops.append(log_prob_drops[0][1] if log_prob_drops else 0.0)
    session.close()


def separation(values: list[float], right: list[bool]) -> float:
    """AUC: how often a right answer has a higher value than a wrong one."""
    good = [value for value, is_right in zip(values, right, strict=True) if is_right]
    bad = [value for value, is_right in zip(values, right, strict=True) if not is_right]
    pairs = [(one > other) + 0.5 * (one == other) for one in good for other in bad]
    return sum(pairs) / len(pairs) if pairs else float("nan")


def time_sweeps(engine: Engine, tally: Tally) -> None:
    """Count the seconds of every sweep over the kept keys."""
    plain = engine.attribute_frames

    def timed(*arguments: object) -> object:
        started = time.perf_counter()
        result = plain(*arguments)  # type: ignore[arg-type]
        tally.sweeping += time.perf_counter() - started
        return result

    engine.attribute_frames = timed  # type: ignore[method-assign, assignment]


def row(num_frames: int, tally: Tally) -> str:
    right = [at for at, is_right in enumerate(tally.right) if is_right]
    wrong = [at for at, is_right in enumerate(tally.right) if not is_right]

    def hits(ranks: list[int], most: int) -> str:
        return f"{sum(ranks[at] < most for at in right) / max(1, len(right)):.2f}"

    def clear(places: list[int]) -> str:
        return f"{sum(tally.log_prob_drops[at] >= MIN_DROP for at in places) / len(places):.2f}" if places else "–"

    cells = [
        f"{num_frames:,}",
        f"{len(tally.right)}",
        f"{len(right)}",
        f"{hits(tally.attention, 1)} / {hits(tally.attention, 3)}",
        f"{hits(tally.hiding, 1)} / {hits(tally.hiding, 3)}",
        f"{clear(right)} / {clear(wrong)}",
        f"{separation(tally.log_probabilities, tally.right):.2f}",
        f"{tally.sweeping / tally.answering:.1%}",
        f"{1000 * tally.trying / len(tally.right):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    share = parser.parse_args().share
    engine = Engine(load("tiny"), Settings(max_new_tokens=48))
    print(
        "| frames | clips | right | by attention, first / top 3 | after hiding | clear fall, right / wrong "
        "| AUC of probability | sweep, share of the answer | hiding, ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        for num_frames, count in CLIPS.items():
            tally = Tally()
            plain = engine.attribute_frames
            time_sweeps(engine, tally)
            for scenes, asked, truth in clips(num_frames, max(2, round(share * count))):
                path = Path(folder) / "clip.mp4"
                write_scenes(path, scenes)
                measure(engine, path, asked, truth, tally)
            engine.attribute_frames = plain  # type: ignore[method-assign]
            print(row(num_frames, tally), flush=True)


if __name__ == "__main__":
    main()
