"""Pictures as JPEG bytes and data URLs."""

import base64
import io

from PIL import Image


def jpeg_bytes(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def data_url(jpeg: bytes) -> str:
    """The bytes of a JPEG as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def thumbnail_url(picture: Image.Image, side: int, quality: int = 72) -> str:
    """A JPEG of at most `side` × `side` pixels as a data URL."""
    small = picture.copy()
    small.thumbnail((side, side))
    return data_url(jpeg_bytes(small, quality))
