"""Still pictures: told from videos by their content, opened upright, within limits of size and time."""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pi_heif
from PIL import ExifTags, Image

from longva_demo.errors import VideoError
from longva_demo.video.avif_still import read_plain_avif
from longva_demo.video.code_points import CodePoints, code_points
from longva_demo.video.jpeg_stream import is_jpeg_stream
from longva_demo.video.magic import HEAD_BYTES, has_movie, picture_kind
from longva_demo.video.still_pixels import as_rgb

MAX_IMAGE_PIXELS = 100_000_000
MAX_PICTURE_BYTES = 4 * MAX_IMAGE_PIXELS  # as many pixels with transparency, uncompressed
MAX_READING_SECONDS = 20.0  # of the processor; the largest picture takes a few
# Pillow knows some forty more, for one of which (EPS) it starts another program.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that turn a picture by a quarter
# What EXIF orientations stand for. TIFF is turned by Pillow, HEIC by libheif; WebP's EXIF and XMP turn nothing in any
# browser. Of an AVIF, Pillow hands over its boxes irot and imir as an orientation.
TURNED_BY_EXIF = {"AVIF", "JPEG", "MPO", "PNG"}
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MOVING = {"AVIF", "GIF", "PNG", "WEBP"}

pi_heif.register_heif_opener(thumbnails=False)


class PictureFile(io.BufferedReader):
    """A file that can be read only within the limits: made for it, one keeps Pillow busy before it knows the size.

    WebP and AVIF it reads as a whole, the pieces of a PNG or GIF one by one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size_bytes = os.fstat(self.fileno()).st_size
        self._bytes_left = MAX_PICTURE_BYTES
        self._began = time.thread_time()

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() - self._began > MAX_READING_SECONDS:
            raise TimeoutError(f"reading took more than {MAX_READING_SECONDS:g} s")
        wanted = self._size_bytes if size is None or size < 0 else min(size, self._size_bytes)
        if wanted > self._bytes_left:
            raise OSError(f"more than {MAX_PICTURE_BYTES:,} bytes would be read")
        data = super().read(wanted)
        self._bytes_left -= len(data)
        return data


def open_image(path: Path) -> Image.Image:
    """The picture as RGB, upright, as browsers show it; `still_pixels` says what becomes of unusual values."""
    try:
        with opened(path) as image:
            image.load()
            return displayed(image, code_points(path, image.format or ""))
    except VideoError:
        plain = read_plain_avif(path, MAX_IMAGE_PIXELS) if path.is_file() else None
        if plain is None:
            raise
        return plain


def displayed(image: Image.Image, points: CodePoints | None) -> Image.Image:
    """The loaded picture, or the present frame of a film, as RGB and upright."""
    rgb = as_rgb(image, points)
    turn = TRANSPOSE.get(exif_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def exif_orientation(image: Image.Image) -> int:
    """The orientation in the picture's own EXIF data, 1 to 8; 1 where browsers do not look for it."""
    if image.format not in TURNED_BY_EXIF or not image.info.get("exif"):
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        return int(exif.get(ExifTags.Base.Orientation) or 1)
    except MemoryError:
        raise
    except Exception:  # of every kind, as below; browsers show a picture with damaged EXIF data as it is stored
        return 1


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's head: the rest may still turn out to be damaged."""
    with opened(path) as image:
        return (image.height, image.width) if exif_orientation(image) in SIDEWAYS else image.size


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Raises VideoError where the file is no picture or too large, or where decoding it inside the block fails."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_PICTURE_BYTES:
            limit = f"above the {MAX_PICTURE_BYTES / 1e6:,.0f} MB that a picture may have"
            raise VideoError(f"{path.name} has {size_bytes / 1e6:,.0f} MB, {limit}", "scale it down or save it as JPEG")
        with PictureFile(path) as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise VideoError(f"{path.name} has {width} × {height} pixels", "scale it below 100 million pixels")
            yield image
    except Image.DecompressionBombError:
        raise VideoError(f"{path.name} has far too many pixels", "scale it below 100 million pixels") from None
    except FileNotFoundError:
        raise VideoError(f"there is no file {path}", "check the path") from None
    except VideoError:
        raise
    except Exception as error:  # Pillow's readers let errors of every kind escape from a damaged file
        raise VideoError(f"{path.name} cannot be read as a picture", "upload a PNG or JPEG file") from error


def is_picture(path: Path) -> bool:
    """Whether the file's content (not its name) is a still picture, even a damaged one; an animated GIF is a video.

    Of several pictures in a TIFF or HEIC, or in what cameras call a JPEG, the first is meant.
    """
    try:
        with PictureFile(path) as file, Image.open(file, formats=FORMATS) as image:
            # Not `n_frames`: for that, all frames of a GIF would be walked through.
            if image.format == "JPEG":
                return not is_jpeg_stream(path)
            if image.format == "HEIF":
                return not has_movie(path)
            return image.format not in MOVING or not getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        return True
    except Exception:  # of every kind, see above
        return is_damaged_picture(path)


def is_damaged_picture(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return picture_kind(opened.read(HEAD_BYTES)) is not None and not has_movie(path)
    except (OSError, ValueError):
        return False
