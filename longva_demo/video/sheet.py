"""The contact sheet: the sampled frames, with their times, as one picture."""

from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from longva_demo.errors import DemoError
from longva_demo.times import format_time
from longva_demo.video.decode import FrameBatch

CELL_WIDTH, CELL_HEIGHT, CAPTION_HEIGHT = 192, 144, 18
BACKGROUND, INK = (16, 18, 24), (235, 238, 245)


def contact_sheet(batches: Iterable[FrameBatch], target: Path) -> None:
    """Write the frames, row by row in the order of time, as a picture; its format follows the file's name.

    Raises:
        DemoError: the file cannot be written. An earlier file of that name is then left as it was.
    """
    frames = (frame for batch in batches for frame in zip(batch.pixels, batch.seconds, strict=True))
    sheet = join_cells([cell(Image.fromarray(pixels), seconds) for pixels, seconds in frames])
    draft = target.with_name(f".{target.name}.part{target.suffix}")
    try:
        sheet.save(draft, quality=88)
        draft.replace(target)
    except (OSError, ValueError) as error:
        draft.unlink(missing_ok=True)
        raise DemoError(
            f"{target} cannot be written ({error})", "choose a .jpg or .png file in a folder of yours"
        ) from error


def join_cells(cells: Sequence[Image.Image]) -> Image.Image:
    """Cells of one size as one picture, as wide as high where possible."""
    columns = ceil(sqrt(len(cells)))
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, ceil(len(cells) / columns) * height), BACKGROUND)
    for number, image in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * width, row * height))
    return sheet


def check_sheet(target: Path) -> None:
    """Raises DemoError when no picture can be written there: better before the decoding than after it."""
    if not target.parent.is_dir():
        raise DemoError(f"there is no folder {target.parent}", "make it, or write the sheet elsewhere")
    if target.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
        raise DemoError(f"{target.name} has no picture suffix", "name it .jpg, .png or .webp")


def cell(image: Image.Image, seconds: float, width: int = CELL_WIDTH, height: int = CELL_HEIGHT) -> Image.Image:
    """One frame, fitted into `width` × `height`, with its time below."""
    image = image.copy()
    image.thumbnail((width - 4, height - 4))
    framed = Image.new("RGB", (width, height + CAPTION_HEIGHT), BACKGROUND)
    framed.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    middle = (width // 2, height + CAPTION_HEIGHT // 2 - 2)
    ImageDraw.Draw(framed).text(middle, format_time(seconds, 1), fill=INK, anchor="mm", font=ImageFont.load_default(13))
    return framed
