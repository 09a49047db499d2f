"""The contact sheet: all sampled frames and their times in one image."""

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
    """Write the frames row by row, in order of time. The file name's suffix selects the image format.

    Raises:
        DemoError: the file cannot be written. An existing file is then left unchanged.
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
            f"{target} cannot be written ({error})", "choose a .jpg or .png file in a writable folder"
        ) from error


def join_cells(cells: Sequence[Image.Image]) -> Image.Image:
    """Join cells of one size into one image with as many columns as rows, or one more."""
    columns = ceil(sqrt(len(cells)))
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, ceil(len(cells) / columns) * height), BACKGROUND)
    for number, image in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * width, row * height))
    return sheet


def check_sheet(target: Path) -> None:
    """Raise DemoError if `target` is not a valid path for a sheet. For use before the decoding starts."""
    if not target.parent.is_dir():
        raise DemoError(f"folder {target.parent} does not exist", "create it, or choose another path for the sheet")
    if target.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
        raise DemoError(f"{target.name} is not a supported image file name", "use .jpg, .png or .webp")


def cell(image: Image.Image, seconds: float, width: int = CELL_WIDTH, height: int = CELL_HEIGHT) -> Image.Image:
    """One frame, scaled to fit `width` × `height`, with its time below."""
    image = image.copy()
    image.thumbnail((width - 4, height - 4))
    framed = Image.new("RGB", (width, height + CAPTION_HEIGHT), BACKGROUND)
    framed.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    middle = (width // 2, height + CAPTION_HEIGHT // 2 - 2)
    ImageDraw.Draw(framed).text(middle, format_time(seconds, 1), fill=INK, anchor="mm", font=ImageFont.load_default(13))
    return framed
