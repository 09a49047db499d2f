"""The example gallery: small clips and a picture drawn from the model's world, with questions and their true answers.

    python -m longva_demo.tiny.make_examples              # draw all, keep the questions that are answered right
    python -m longva_demo.tiny.make_examples --no-check   # draw all, keep all questions

The answers are those of the scenes. The model is only asked which questions it gets right, so that the gallery shows
what works; its words are never taken for an answer.
"""

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from longva_demo.tiny.gallery import EXAMPLES, SIZE, Example
from longva_demo.tiny.questions import Asked

FOLDER = Path(__file__).resolve().parents[2] / "examples"


def write_clip(path: Path, frames: Iterator[np.ndarray], fps: int, crf: int) -> int:
    """H.264 that every browser plays; returns the number of frames."""
    count = 0
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "slow", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            count += 1
        container.mux(stream.encode())
    return count


def write_files(example: Example, folder: Path) -> None:
    """The clip or picture, and its thumbnail."""
    (folder / "thumbs").mkdir(parents=True, exist_ok=True)
    path = folder / example.file
    if example.fps:
        count = write_clip(path, example.frames(), example.fps, example.crf)
        wanted = min(count - 1, int(example.cover * count))
        cover = next(frame for index, frame in enumerate(example.frames()) if index == wanted)
    else:
        cover = next(example.frames())
        Image.fromarray(cover).save(path, optimize=True)
    Image.fromarray(cover).resize((240, 240), Image.Resampling.LANCZOS).save(
        folder / "thumbs" / f"{example.name}.jpg", quality=88
    )


def entry(example: Example, asked: list[Asked]) -> dict[str, object]:
    return {
        "file": example.file,
        "title": example.title,
        "shows": example.shows,
        "thumbnail": f"thumbs/{example.name}.jpg",
        "num_frames": example.num_frames,
        "questions": [{"question": one.question, "answer": one.answer} for one in asked],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--no-check", action="store_true", help="keep all questions without asking the model")
    parser.add_argument("--keep-files", action="store_true", help="only ask again; the files are there already")
    options = parser.parse_args()
    entries = []
    for build in EXAMPLES:
        example = build()
        if not options.keep_files:
            write_files(example, options.folder)
        asked = example.asked
        if not options.no_check:
            from longva_demo.tiny.check_examples import right_answers  # the model is needed here only

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
