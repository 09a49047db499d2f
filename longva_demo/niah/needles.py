"""Needles of a folder or of the Hub: pictures or clips, a question that identifies them, and the answer."""

import ast
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from PIL import Image

from longva_demo.errors import DemoError
from longva_demo.niah.drawn import drawn_needles
from longva_demo.niah.haystack import video_frames
from longva_demo.niah.needle import Asked, Footage, Needle
from longva_demo.video import DecodeLimits, probe
from longva_demo.video.still import FORMATS, is_picture, open_image

PUBLISHED_NEEDLES = "lmms-lab/v_niah_needles"
ANNOTATIONS = "dataset.json"
FORMAT = f"a folder with {ANNOTATIONS} (a list of path, prompt and answer), and its pictures there or in images/"
MAX_CLIP_FRAMES = 10  # of one second each, as in TimeScope


def load_needles(source: str) -> list[Needle]:
    """The needles of "drawn" (made for the built-in model), of a folder, or of a dataset on the Hub.

    A folder has the format of the published code's `needle_datasets` (`FORMAT`) or that of the published dataset:
    parquet files with image, question and answer. See `read_annotations` for what other published tests add.

    Raises:
        DemoError: there is no such source, the Hub is unreachable, or a needle is unusable.
    """
    if source == "drawn":
        return drawn_needles()
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") != 1:
            raise DemoError(f"there is no folder {source!r}", f"use {FORMAT}; {PUBLISHED_NEEDLES}; or drawn")
        folder = download(source)
    tables = sorted(folder.rglob("*.parquet"))
    needles = list(read_tables(tables) if tables else read_annotations(folder))
    if not needles:
        raise DemoError(f"{source} contains no needles", f"use {FORMAT}")
    return needles


def download(repo_id: str) -> Path:
    try:
        return Path(snapshot_download(repo_id, repo_type="dataset"))
    except Exception as error:  # from the Hub's client or its transport: in any case the dataset is unavailable
        raise DemoError(
            f"cannot download the needles {repo_id} from the Hub ({type(error).__name__})",
            "check the connection and the name, or use a folder or --needles drawn",
        ) from error


def read_annotations(folder: Path) -> Iterator[Needle]:
    """Read the format of the published code.

    `path` is a picture, or a video whose first seconds are a clip. As in V-RULER it may be a list of them, or a list as
    text, in the order of the video. As in V-NIAH-D, `interrupt_path` is the distractor.
    """
    file = folder / ANNOTATIONS
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DemoError(f"{folder} has no {ANNOTATIONS}", f"use {FORMAT}") from None
    except (OSError, ValueError) as error:
        raise DemoError(f"cannot read {file} ({error})", f"use {FORMAT}") from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        where = f"entry {number} of {file}"
        paths = paths_of(row.get("path") if isinstance(row, dict) else None, where)
        question, answer = texts(row, ("prompt", "answer"), where)
        parts = tuple(open_footage(folder, path) for path in paths)
        distractor = open_footage(folder, *texts(row, ("interrupt_path",), where)) if "interrupt_path" in row else None
        name = " + ".join(Path(path).stem for path in paths) or f"entry {number}"
        yield Needle(name, parts, (Asked(question, answer, tuple(range(len(parts)))),), distractor)


def paths_of(value: Any, where: str) -> list[str]:
    """The files of a needle: one, a list, or a list as text, as some rows of V-RULER have it."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = None
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) and path.strip() for path in paths):
        raise DemoError(f"{where} has no path", f"use {FORMAT}")
    return paths


def open_footage(folder: Path, path: str) -> Footage:
    """A picture, or the first seconds of a video with one frame per second."""
    candidates = [folder / path, folder / "images" / path]
    found = next((file for file in candidates if file.is_file()), candidates[0])
    if not found.is_file() or is_picture(found):
        return Footage((open_image(found),))
    limits = DecodeLimits()
    info = probe(found, limits)
    seconds = -(-info.num_frames // max(1, round(info.fps)))
    frames = np.concatenate(list(video_frames(found, min(seconds, MAX_CLIP_FRAMES), "second", limits)))
    return Footage(tuple(Image.fromarray(frame) for frame in frames))


def read_tables(tables: Iterable[Path]) -> Iterator[Needle]:
    """Read the format of the published dataset: parquet files."""
    import pyarrow.parquet as parquet  # optional: the extra [niah]

    for table in tables:
        try:
            rows = parquet.read_table(table).to_pylist()
        except (OSError, ValueError) as error:
            raise DemoError(f"cannot read {table} ({error})", "download it again") from error
        for number, row in enumerate(rows, start=1):
            where = f"row {number} of {table.name}"
            question, answer = texts(row, ("question", "answer"), where)
            image = row.get("image") or {}
            try:
                picture = Image.open(io.BytesIO(image["bytes"]), formats=FORMATS).convert("RGB")
            except (KeyError, TypeError, OSError) as error:
                raise DemoError(f"{where} has no readable picture", f"use {FORMAT}") from error
            name = Path(image.get("path") or f"needle-{number}").stem
            yield Needle.single(name, Footage((picture,)), question, answer)


def texts(row: Any, names: tuple[str, ...], where: str) -> list[str]:
    values = [row.get(name) if isinstance(row, dict) else None for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise DemoError(f"{where} has no {name}", f"use {FORMAT}")
    return values  # type: ignore[return-value]
