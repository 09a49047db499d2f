"""A picture as a source: the model's pixels and a small copy are kept, never the picture itself."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longva_demo.chat import ImageSource, LocalEngine
from longva_demo.chat.image_source import THUMBNAIL_SIDE
from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, open_image

MIB = 1024**2


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(640, 360), (31, 200), (3000, 500)])
def test_a_file_and_an_image_give_the_processors_pixels(
    size: tuple[int, int], engine: LocalEngine, tmp_path: Path
) -> None:
    image = picture(*size)
    image.save(tmp_path / "a.png")
    from_file, from_image = (ImageSource(given, engine.processor) for given in (tmp_path / "a.png", image))
    assert image.size == size  # unchanged
    expected = engine.processor.preprocess_image(open_image(tmp_path / "a.png"))
    for source in (from_file, from_image):
        assert np.array_equal(source.slots, expected)
        assert source.num_frames == len(expected) - 1
        assert source.size == size
        assert max(source.thumbnail.size) == min(max(size), THUMBNAIL_SIDE)
    assert from_file.key == from_image.key
    assert from_file.key != ImageSource(image.rotate(180), engine.processor).key
    assert np.array_equal(from_file.thumbnail, from_image.thumbnail)
    assert (from_file.path, from_image.path) == (tmp_path / "a.png", None)


def test_what_a_large_picture_keeps(engine: LocalEngine, tmp_path: Path) -> None:
    """40 million pixels."""
    Image.new("1", (8000, 5000), 1).save(tmp_path / "a.png")
    source = ImageSource(tmp_path / "a.png", engine.processor)
    held = [value for value in vars(source).values() if isinstance(value, np.ndarray | Image.Image)]
    assert sum(np.asarray(value).nbytes for value in held) < 6 * MIB + source.slots.nbytes
    assert source.slots.nbytes <= 50 * 3 * engine.processor.image_size**2
    assert source.size == (8000, 5000)
    assert source.thumbnail.size == (1280, 800)


def test_the_limits_hold_for_pictures(engine: LocalEngine, tmp_path: Path) -> None:
    Image.new("RGB", (5000, 5000)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a\.png: decoding needs more than the 32 MB of memory allowed"):
        ImageSource(tmp_path / "a.png", engine.processor, DecodeLimits(memory_bytes=32 * MIB))
