"""Attribution on an engine elsewhere beside that in process, on fresh needle clips with one digit.

The engine elsewhere knows no attention. It is asked how likely the answer is after fewer and fewer of the frames: the
answer was first seen at the last frame without which it is clearly less likely. A stand-in for vLLM, made of the
built-in model, answers. Run it with `python -m bench.first_seen`; for part of the clips, `--share 0.2`.
"""

import argparse
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.attribution import CLIPS
from longva_demo.chat import ChatSession, Engine, LocalEngine, Turn, VideoSource
from longva_demo.chat.attribution import MIN_DROP
from longva_demo.chat.remote import RemoteEngine
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.support.fake_replica import Replica, serving
from tests.support.needle_clips import clips, write_scenes


def ask(engine: Engine, path: Path, question: str) -> tuple[Turn, float]:
    """The attributed turn, and the seconds that its attribution took."""
    info = probe(path)
    with closing(ChatSession(engine)) as session:
        session.set_source(VideoSource(info, plan_frames(info, info.num_frames), engine.processor))
        list(session.ask(question))
        started = time.perf_counter()
        turn = session.attribute_last_answer()
        assert turn is not None, f"{engine.model.device} found nothing"
        return turn, time.perf_counter() - started


def first_frame(turn: Turn) -> int | None:
    """The frame that is named first; None if no drop or rise is clear."""
    assert turn.attribution is not None
    return next(iter(turn.attribution.used_frames), None)


def measure(num_frames: int, count: int, engines: tuple[Engine, Engine], path: Path) -> str:
    """A row of the table, over clips whose answer is right."""
    named, right, seconds = [0, 0], [0, 0], [0.0, 0.0]
    num_right = 0
    for scenes, asked, needle_frames in clips(num_frames, count):
        write_scenes(path, scenes)
        turns = [ask(engine, path, asked.question) for engine in engines]
        assert turns[0][0].ids == turns[1][0].ids
        if turns[0][0].answer != asked.answer:
            continue
        num_right += 1
        for number, (turn, spent) in enumerate(turns):
            frame = first_frame(turn)
            named[number] += frame is not None
            right[number] += frame in needle_frames
            seconds[number] += spent
    columns = (
        f"{hits / num_right:.2f} of {total / num_right:.2f} | {1000 * spent / num_right:.0f}"
        for hits, total, spent in zip(right, named, seconds, strict=True)
    )
    return f"| {num_frames:,} | {count} | {num_right} | {' | '.join(columns)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    share = parser.parse_args().share
    local = LocalEngine(load("tiny", device="cpu"), Settings(max_new_tokens=48))
    print(f"Right and named frames, as shares of right answers; named from {MIN_DROP:g} nat on.")
    print("| frames | clips | right answers | in process | ms | elsewhere | ms |")
    print("|---|---|---|---|---|---|---|", flush=True)
    replica = Replica(LocalEngine(local.loaded, Settings()))
    with serving(replica) as address, TemporaryDirectory() as folder:
        remote = RemoteEngine.connect(Settings(engine=address, max_new_tokens=48))
        for num_frames, count in CLIPS.items():
            print(
                measure(num_frames, max(2, round(share * count)), (local, remote), Path(folder) / "a.mp4"), flush=True
            )


if __name__ == "__main__":
    main()
