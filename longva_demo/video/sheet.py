"""The contact sheet: the sampled frames, with their times, as one picture."""

from collections.abc import Iterable
from math import ceil, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from longva_demo.clock import clock_time
from longva_demo.errors import DemoError
from longva_demo.video.decode import FrameBatch

CELL_WIDTH, CELL_HEIGHT, CAPTION_HEIGHT = 192, 144, 18
BACKGROUND, INK = (16, 18, 24), (235, 238, 245)


def contact_sheet(batches: Iterable[FrameBatch], target: Path) -> None:
    """Write the frames, row by row in the order of time, as a picture; its format follows the file's name.

    Raises:
        DemoError: the file cannot be written. An earlier file of that name is then left as it was.
    """
    cells = [cell(pixels, time) for batch in batches for pixels, time in zip(batch.pixels, batch.seconds, strict=True)]
    columns = ceil(sqrt(len(cells)))
    rows = ceil(len(cells) / columns)
    sheet = Image.new("RGB", (columns * CELL_WIDTH, rows * (CELL_HEIGHT + CAPTION_HEIGHT)), BACKGROUND)
    for number, image in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * CELL_WIDTH, row * (CELL_HEIGHT + CAPTION_HEIGHT)))
    draft = target.with_name(f".{target.name}.part{target.suffix}")
    try:
        sheet.save(draft, quality=88)
        draft.replace(target)
    except (OSError, ValueError) as error:
        draft.unlink(missing_ok=True)
        raise DemoError(
            f"{target} cannot be written ({error})", "choose a .jpg or .png file in a folder of yours"
        ) from error


def check_sheet(target: Path) -> None:
    """Raises DemoError when no picture can be written there: better before the decoding than after it."""
    if not target.parent.is_dir():
        raise DemoError(f"there is no folder {target.parent}", "make it, or write the sheet elsewhere")
    if target.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
        raise DemoError(f"{target.name} has no picture suffix", "name it .jpg, .png or .webp")


def cell(pixels: object, seconds: float) -> Image.Image:
    """One frame, fitted into its cell, with its time below."""
    image = Image.fromarray(pixels)  # type: ignore[arg-type]
    image.thumbnail((CELL_WIDTH - 4, CELL_HEIGHT - 4))
    framed = Image.new("RGB", (CELL_WIDTH, CELL_HEIGHT + CAPTION_HEIGHT), BACKGROUND)
    framed.paste(image, ((CELL_WIDTH - image.width) // 2, (CELL_HEIGHT - image.height) // 2))
    middle = (CELL_WIDTH // 2, CELL_HEIGHT + CAPTION_HEIGHT // 2 - 2)
    ImageDraw.Draw(framed).text(middle, clock_time(seconds), fill=INK, anchor="mm", font=ImageFont.load_default(13))
    return framed
