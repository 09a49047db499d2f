"""Needles: a picture, a question that says how to find it, and the answer."""

import io
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
from huggingface_hub import snapshot_download
from PIL import Image

from longva_demo.errors import DemoError
from longva_demo.tiny.clips import needle_scene
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, SHAPES
from longva_demo.video.still import FORMATS, open_image

PUBLISHED_NEEDLES = "lmms-lab/v_niah_needles"
NUM_DRAWN = 20
DRAWN_SEED = 8_000_000  # neither training nor evaluation uses this one
DRAWN_SIDE = 336
ANNOTATIONS = "dataset.json"
FORM = f"a folder with {ANNOTATIONS}, a list of path, prompt and answer, and the pictures beside it or in images/"


@dataclass(frozen=True)
class Needle:
    name: str
    picture: Image.Image
    question: str
    answer: str


def load_needles(source: str) -> list[Needle]:
    """The needles of "drawn" (made for the built-in model), of a folder, or of a dataset on the Hub.

    A folder has the form of the published code's `needle_datasets` (`FORM`) or of the published dataset: parquet
    files with image, question and answer.

    Raises:
        DemoError: nothing of that name, no way to the Hub, or a needle that cannot be used.
    """
    if source == "drawn":
        return drawn_needles()
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") != 1:
            raise DemoError(f"there is no folder {source!r}", f"give {FORM}; {PUBLISHED_NEEDLES}; or drawn")
        folder = download(source)
    tables = sorted(folder.rglob("*.parquet"))
    needles = list(read_tables(tables) if tables else read_annotations(folder))
    if not needles:
        raise DemoError(f"{source} holds no needles", f"give {FORM}")
    return needles


def drawn_needles(count: int = NUM_DRAWN) -> list[Needle]:
    """Pictures of the built-in model's world: a number on a shape in a colour, no two needles of the same kind."""
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
    except Exception as error:  # of the Hub's client or its transport: each means that it is not to be had
        raise DemoError(
            f"the needles {repo_id} cannot be had from the Hub ({type(error).__name__})",
            "go online and check the name, give a folder, or use --needles drawn",
        ) from error


def read_annotations(folder: Path) -> Iterator[Needle]:
    """The published code's form."""
    file = folder / ANNOTATIONS
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DemoError(f"{folder} has no {ANNOTATIONS}", f"give {FORM}") from None
    except (OSError, ValueError) as error:
        raise DemoError(f"{file} cannot be read ({error})", f"give {FORM}") from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        path, question, answer = texts(row, ("path", "prompt", "answer"), f"entry {number} of {file}")
        places = [folder / path, folder / "images" / path]
        found = next((place for place in places if place.is_file()), places[0])
        yield Needle(Path(path).stem, open_image(found), question, answer)


def read_tables(tables: Iterable[Path]) -> Iterator[Needle]:
    """The published dataset's form: the Hub's parquet files."""
    for table in tables:
        try:
            rows = parquet.read_table(table).to_pylist()
        except (OSError, ValueError) as error:
            raise DemoError(f"{table} cannot be read ({error})", "download it again") from error
        for number, row in enumerate(rows, start=1):
            where = f"row {number} of {table.name}"
            question, answer = texts(row, ("question", "answer"), where)
            image = row.get("image") or {}
            try:
                picture = Image.open(io.BytesIO(image["bytes"]), formats=FORMATS).convert("RGB")
            except (KeyError, TypeError, OSError) as error:
                raise DemoError(f"{where} has no picture that can be read", f"give {FORM}") from error
            yield Needle(Path(image.get("path") or f"needle-{number}").stem, picture, question, answer)


def texts(row: Any, names: tuple[str, ...], where: str) -> list[str]:
    values = [row.get(name) if isinstance(row, dict) else None for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise DemoError(f"{where} has no {name}", f"give {FORM}")
    return values  # type: ignore[return-value]
