"""Needles: a picture, a question that identifies it, and the answer."""

import io
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from PIL import Image

from longva_demo.errors import DemoError
from longva_demo.tiny.clips import needle_scene
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES
from longva_demo.video.still import FORMATS, open_image

PUBLISHED_NEEDLES = "lmms-lab/v_niah_needles"
NUM_DRAWN = 20
DRAWN_SEED = 8_000_000  # not used in training or evaluation
DRAWN_SIDE = 336
ANNOTATIONS = "dataset.json"
FORMAT = f"a folder with {ANNOTATIONS} (a list of path, prompt and answer), and its pictures there or in images/"


@dataclass(frozen=True)
class Needle:
    name: str
    picture: Image.Image
    question: str
    answer: str


def load_needles(source: str) -> list[Needle]:
    """The needles of "drawn" (made for the built-in model), of a folder, or of a dataset on the Hub.

    A folder has the format of the published code's `needle_datasets` (`FORMAT`) or that of the published dataset:
    parquet files with image, question and answer.

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


def drawn_needles(count: int = NUM_DRAWN) -> list[Needle]:
    """Scenes with a number on a coloured shape. No two needles have the same shape and colour."""
    rng = random.Random(DRAWN_SEED)
    kinds = [(shape, colour) for shape in range(len(SHAPES)) for colour in range(len(COLOUR_NAMES))]
    needles = []
    for index, (shape, colour) in enumerate(rng.sample(kinds, count)):
        name, digit = f"{COLOUR_NAMES[colour]} {SHAPES[shape]}", index % len(DIGITS)
        picture = Image.fromarray(draw(needle_scene(rng, shape, colour, digit), DRAWN_SIDE))
        needles.append(Needle(name, picture, f"What number is on the {name}?", f"The number is {DIGITS[digit]}."))
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
    """Read the format of the published code."""
    file = folder / ANNOTATIONS
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DemoError(f"{folder} has no {ANNOTATIONS}", f"use {FORMAT}") from None
    except (OSError, ValueError) as error:
        raise DemoError(f"cannot read {file} ({error})", f"use {FORMAT}") from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        path, question, answer = texts(row, ("path", "prompt", "answer"), f"entry {number} of {file}")
        candidates = [folder / path, folder / "images" / path]
        found = next((file for file in candidates if file.is_file()), candidates[0])
        yield Needle(Path(path).stem, open_image(found), question, answer)


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
            yield Needle(Path(image.get("path") or f"needle-{number}").stem, picture, question, answer)


def texts(row: Any, names: tuple[str, ...], where: str) -> list[str]:
    values = [row.get(name) if isinstance(row, dict) else None for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise DemoError(f"{where} has no {name}", f"use {FORMAT}")
    return values  # type: ignore[return-value]
