"""Still pictures: told from videos by their content, opened upright."""

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from longva_demo.errors import VideoError

MAX_IMAGE_PIXELS = 100_000_000


def open_image(path: Path) -> Image.Image:
    """The picture as RGB, upright (EXIF orientation applied)."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise VideoError(f"{path.name} has {width} × {height} pixels", "scale it below 100 million pixels")
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise VideoError(f"there is no file {path}", "check the path") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise VideoError(f"{path.name} cannot be read as a picture", "upload a PNG or JPEG file") from error


def is_picture(path: Path) -> bool:
    """Whether the file's content (not its name) is a still picture; an animated GIF is a video."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) == 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
