"""Still pictures: what their heads say, and what is found when they are decoded."""

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from longva_demo.errors import VideoError
from longva_demo.video.still import image_size, open_image


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
def test_the_head_gives_the_size_of_the_upright_picture(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"picture.{ending}"
    Image.new("RGB", (90, 40), "red").save(path, exif=exif)
    assert image_size(path) == open_image(path).size == ((40, 90) if orientation in (6, 8) else (90, 40))


def test_a_picture_that_breaks_off_has_a_size_but_cannot_be_opened(tmp_path: Path) -> None:
    for ending in ("jpg", "png"):
        path = tmp_path / f"picture.{ending}"
        Image.effect_noise((90, 40), 100).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert image_size(path) == (90, 40)
        with pytest.raises(VideoError, match="cannot be read as a picture"):
            open_image(path)
    path.write_bytes(b"no picture")
    for use in (image_size, open_image):
        with pytest.raises(VideoError, match="cannot be read as a picture"):
            use(path)
        with pytest.raises(VideoError, match="there is no file"):
            use(tmp_path / "none.png")
