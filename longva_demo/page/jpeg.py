"""Pictures as JPEG bytes and as data URLs."""

import base64
import io

from PIL import Image


def jpeg_bytes(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def data_url(picture: Image.Image, side: int, quality: int = 72) -> str:
    """A JPEG of at most `side` × `side` pixels as a data URL."""
    small = picture.copy()
    small.thumbnail((side, side))
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(small, quality)).decode("ascii")
