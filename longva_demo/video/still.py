"""Still pictures: told from videos by their content, opened upright."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from longva_demo.errors import VideoError
from longva_demo.video.magic import HEAD_BYTES, picture_kind

MAX_IMAGE_PIXELS = 100_000_000
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that turn a picture by a quarter
MOVING = {"GIF", "PNG", "WEBP"}


def open_image(path: Path) -> Image.Image:
    """The picture as RGB, upright (EXIF orientation applied)."""
    with opened(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's head: the rest may still turn out to be damaged."""
    with opened(path) as image:
        # A PNG's own `getexif` decodes all of it. Pillow gives a TIFF's size upright.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
        is_turned = image.format != "TIFF" and orientation in SIDEWAYS
        return (image.height, image.width) if is_turned else image.size


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Raises VideoError where the file is no picture or too large, or where decoding it inside the block fails."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise VideoError(f"{path.name} has {width} × {height} pixels", "scale it below 100 million pixels")
            yield image
    except Image.DecompressionBombError:
        raise VideoError(f"{path.name} has far too many pixels", "scale it below 100 million pixels") from None
    except FileNotFoundError:
        raise VideoError(f"there is no file {path}", "check the path") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise VideoError(f"{path.name} cannot be read as a picture", "upload a PNG or JPEG file") from error


def is_picture(path: Path) -> bool:
    """Whether the file's content (not its name) is a still picture, even a damaged one; an animated GIF is a video.

    Of several pictures in a TIFF, or in what cameras call a JPEG, the first is meant.
    """
    try:
        with Image.open(path) as image:
            return image.format not in MOVING or getattr(image, "n_frames", 1) == 1
    except Image.DecompressionBombError:
        return True
    except (OSError, SyntaxError, ValueError):
        return is_damaged_picture(path)


def is_damaged_picture(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return picture_kind(opened.read(HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False
