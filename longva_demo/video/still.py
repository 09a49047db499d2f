"""Still pictures: recognise them by content, and open them upright within limits of size and time.

Opening one may take gigabytes: see `picture.read_picture`, which does it in a worker. Recognising one takes little.
"""

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
from longva_demo.video.limits import MIB
from longva_demo.video.magic import HEAD_BYTES, has_movie, is_animation, picture_kind
from longva_demo.video.still_pixels import as_rgb

MAX_IMAGE_PIXELS = 100_000_000
MAX_PICTURE_BYTES = 4 * MAX_IMAGE_PIXELS  # uncompressed RGBA
MAX_HEADER_BYTES = 4 * MIB
MAX_READING_SECONDS = 20.0  # of CPU time; the largest picture takes a few
# Pillow supports some forty more; for one of them (EPS) it starts another program.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
# Formats whose EXIF orientation applies. Pillow rotates TIFF itself, and libheif HEIC. No browser applies the EXIF or
# XMP orientation of a WebP. Pillow converts the irot and imir boxes of an AVIF to an EXIF orientation.
ORIENTED_BY_EXIF = {"AVIF", "JPEG", "MPO", "PNG"}
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Formats that are recognised by their first bytes alone. Pillow decodes an ICO when opening it, and for the header of a
# TIFF of 40 MB it takes a gigabyte.
STILL = {"BMP", "HEIC", "ICO", "TIFF"}
MAYBE_ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")

pi_heif.register_heif_opener(thumbnails=False)


class PictureFile(io.BufferedReader):
    """Limits the bytes and CPU time of reading: a malicious file can occupy Pillow before its size is known.

    Pillow reads a WebP or AVIF at once, and a PNG or GIF chunk by chunk.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__(io.FileIO(path))
        self._size_bytes = os.fstat(self.fileno()).st_size
        self._bytes_left = max_bytes
        self._start = time.thread_time()

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() - self._start > MAX_READING_SECONDS:
            raise TimeoutError(f"reading took more than {MAX_READING_SECONDS:g} s")
        wanted = self._size_bytes if size is None or size < 0 else min(size, self._size_bytes)
        if wanted > self._bytes_left:
            raise OSError(f"the picture needs {wanted - self._bytes_left:,} bytes more than allowed")
        data = super().read(wanted)
        self._bytes_left -= len(data)
        return data


def open_image(path: Path) -> Image.Image:
    """The picture in RGB, upright, as browsers show it. `still_pixels` describes the conversion of unusual formats."""
    try:
        with open_within_limits(path) as image:
            image.load()
            return as_displayed(image, code_points(path, image.format or ""))
    except VideoError:
        plain = read_plain_avif(path, MAX_IMAGE_PIXELS) if path.is_file() else None
        if plain is None:
            raise
        return plain


def as_displayed(image: Image.Image, points: CodePoints | None) -> Image.Image:
    """The loaded picture, or the current frame of an animation, in RGB and upright."""
    rgb = as_rgb(image, points)
    turn = TRANSPOSE.get(exif_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def exif_orientation(image: Image.Image) -> int:
    """The orientation in the picture's EXIF data, 1 to 8; 1 for formats in which browsers ignore it."""
    if image.format not in ORIENTED_BY_EXIF or not image.info.get("exif"):
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        return int(exif.get(ExifTags.Base.Orientation) or 1)
    except MemoryError:
        raise
    except Exception:  # see open_within_limits; browsers ignore damaged EXIF data
        return 1


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's header only: the rest may be damaged."""
    with open_within_limits(path) as image:
        return (image.height, image.width) if exif_orientation(image) in SIDEWAYS else image.size


@contextmanager
def open_within_limits(path: Path) -> Iterator[Image.Image]:
    """Raise VideoError if the file is not a picture or too large, or if decoding it inside the block fails."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_PICTURE_BYTES:
            limit = f"above the limit of {MAX_PICTURE_BYTES / 1e6:,.0f} MB for a picture"
            raise VideoError(f"{path.name} is {size_bytes / 1e6:,.0f} MB, {limit}", "scale it down or save it as JPEG")
        with PictureFile(path, MAX_PICTURE_BYTES) as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise VideoError(f"{path.name} has {width} × {height} pixels", "scale it below 100 million pixels")
            yield image
    except Image.DecompressionBombError:
        raise VideoError(f"{path.name} has far too many pixels", "scale it below 100 million pixels") from None
    except FileNotFoundError:
        raise VideoError(f"{path} does not exist", "check the path") from None
    except VideoError:
        raise
    except Exception as error:  # Pillow raises exceptions of many types for damaged files
        raise VideoError(f"{path.name} cannot be read as a picture", "upload a PNG or JPEG file") from error


def is_picture(path: Path) -> bool:
    """Whether the file's content (not its name) is a still picture, even a damaged one; an animated GIF is a video.

    If a TIFF, HEIC or camera JPEG contains several pictures, the first one counts. Reads at most MAX_HEADER_BYTES,
    except of a GIF, which is read in blocks of 255 bytes.
    """
    try:
        with path.open("rb") as opened:
            kind = picture_kind(opened.read(HEAD_BYTES))
        if kind == "JPEG":
            return not is_jpeg_stream(path)
        if kind in STILL:
            return not has_movie(path)
        if kind == "WebP" and path.stat().st_size > MAX_HEADER_BYTES:
            return not is_animation(path)
        max_bytes = MAX_PICTURE_BYTES if kind is None else MAX_HEADER_BYTES
        with PictureFile(path, max_bytes) as file, Image.open(file, formats=(*MAYBE_ANIMATED, "PPM")) as image:
            # Not `n_frames`: Pillow would read through all frames of a GIF.
            return not getattr(image, "is_animated", False)
    except Image.DecompressionBombError:
        return True
    except Exception:  # see open_within_limits
        return is_damaged_picture(path)


def is_damaged_picture(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return picture_kind(opened.read(HEAD_BYTES)) is not None and not has_movie(path)
    except (OSError, ValueError):
        return False
