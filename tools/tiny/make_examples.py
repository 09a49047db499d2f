"""Build the example gallery: short clips and pictures of scenes, with questions and their answers.

    python -m tools.tiny.make_examples              # draw everything, keep the questions answered correctly
    python -m tools.tiny.make_examples --keep-files # only ask again, after a training
    python -m tools.tiny.make_examples --no-check   # draw everything, keep all questions

The answers come from the scenes, never from the model. The model only decides which questions are kept, so that the
gallery shows what works.
"""

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from longva_demo.tiny.questions import QAPair
from longva_demo.video import FramePlan, decode_frames, plan_frames, probe
from tools.tiny.gallery import EXAMPLES, Example
from tools.tiny.gallery_frames import SIZE

FOLDER = Path(__file__).resolve().parents[2] / "examples"
CARD = 160  # longer side of a thumbnail, in pixels
PREVIEW_FRAMES, PREVIEW_MILLISECONDS = 12, 250  # of an animated preview; duration of a frame


def write_clip(path: Path, frames: Iterator[np.ndarray], fps: int, crf: int) -> None:
    """Write H.264 that every browser plays."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "slow", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def write_files(example: Example, folder: Path) -> None:
    """Write the clip or picture, its thumbnail, and for a clip an animated preview."""
    (folder / "thumbs").mkdir(parents=True, exist_ok=True)
    path, thumbnail = folder / example.file, folder / "thumbs" / f"{example.name}.jpg"
    if not example.fps:
        picture = Image.fromarray(next(example.frames()))
        picture.save(path, optimize=True)
        small(picture).save(thumbnail, quality=88)
        return
    write_clip(path, example.frames(), example.fps, example.crf)
    info = probe(path)
    start = example.cover * info.duration_seconds
    cover = plan_frames(info, 1, start)
    small(pictures(path, cover)[0]).save(thumbnail, quality=88)
    # The cover is one of the frames, so that the preview shows a needle.
    before = max(1, round(PREVIEW_FRAMES * example.cover))
    parts = [plan_frames(info, before, 0, start), plan_frames(info, PREVIEW_FRAMES - before, start)]
    write_preview(thumbnail.with_suffix(".webp"), [small(one) for part in parts for one in pictures(path, part)])


def pictures(path: Path, plan: FramePlan) -> list[Image.Image]:
    return [Image.fromarray(frame) for batch in decode_frames(path, plan) for frame in batch.pixels]


def small(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((CARD, CARD), Image.Resampling.LANCZOS)
    return picture


def write_preview(path: Path, frames: list[Image.Image]) -> None:
    """Write an endless animation."""
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=PREVIEW_MILLISECONDS, loop=0, quality=60, method=6
    )


def entry(example: Example, asked: list[QAPair]) -> dict[str, object]:
    return {
        "file": example.file,
        "group": example.group,
        "title": example.title,
        "shows": example.shows,
        "thumbnail": f"thumbs/{example.name}.jpg",
        "preview": f"thumbs/{example.name}.webp" if example.fps else None,
        "num_frames": example.num_frames,
        "questions": [{"question": one.question, "answer": one.answer} for one in asked],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--no-check", action="store_true", help="keep all questions without asking the model")
    parser.add_argument("--keep-files", action="store_true", help="only ask again, with the existing files")
    options = parser.parse_args()
    entries = []
    for build in EXAMPLES:
        example = build()
        if not options.keep_files:
            write_files(example, options.folder)
        asked = example.asked
        if not options.no_check:
            from tools.tiny.check_examples import right_answers  # imported late: only the check needs the model

            pairs = [(one.question, one.answer) for one in asked]
            right = right_answers(options.folder / example.file, example.num_frames, pairs)
            asked = [one for one, is_right in zip(asked, right, strict=True) if is_right]
        print(
            f"{example.file}: {(options.folder / example.file).stat().st_size} bytes, {len(asked)} questions",
            flush=True,
        )
        entries.append(entry(example, asked[:4]))
    text = json.dumps(entries, indent=2, ensure_ascii=False)
    (options.folder / "examples.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
