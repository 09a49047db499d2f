"""UniRes as a transformers image processor: images to pixels, one visual each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ImagesKwargs

from longva_demo.model.config import CLIP_MEAN, CLIP_STD, LongVAConfig, default_pinpoints
from longva_demo.model.longva import IMAGE, UNIRES_STRIDE
from longva_demo.model.pixels import grey_levels, normalise
from longva_demo.unires import best_resolution, split_image

SIDE, PATCH = 336, 14  # of openai/clip-vit-large-patch14-336


class LongVAImagesKwargs(ImagesKwargs, total=False):
    """Arguments of `LongVAImageProcessor`, beside transformers' own."""

    image_grid_pinpoints: list[list[int]] | None
    patch_size: int | None


class SquarePixels:
    """What images and video frames have in common: squares of S px and their normalisation."""

    size: ClassVar = {"height": SIDE, "width": SIDE}
    resample = 3  # bicubic
    patch_size = PATCH
    image_mean, image_std = CLIP_MEAN, CLIP_STD
    do_resize = do_rescale = do_normalize = do_convert_rgb = True
    rescale_factor: float
    fixed: ClassVar[tuple[str, ...]] = ("size", "crop_size", "resample", "do_resize", "patch_size")

    @property
    def side(self) -> int:
        """S: the side of a frame or a grid in pixels."""
        return self.size["height"]

    def levels(self, **kwargs: Any) -> np.ndarray:
        """The table of `grey_levels` for the arguments of one call.

        Raises:
            ValueError: an argument asks for other squares than the model's.
        """
        given = {name: value for name, value in kwargs.items() if value is not None}
        for name in self.fixed:
            value = given.get(name)
            if name in ("size", "crop_size") and value is not None:
                sides = {value} if isinstance(value, int) else set(dict(value).values()) - {None}
                value = None if sides == {self.side} else value
            if value is not None and value != getattr(self, name, None):
                raise ValueError(f"{name} = {value} is not supported; the model needs {self.side} px squares")
        names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
        values = {name: given.get(name, getattr(self, name)) for name in names}
        normalised = values["do_normalize"]
        return grey_levels(
            values["image_mean"] if normalised else None,
            values["image_std"] if normalised else None,
            values["rescale_factor"] if values["do_rescale"] else None,
        )


class LongVAImageProcessor(SquarePixels, BaseImageProcessor):
    """Images to `pixel_values` (slots, 3, S, S) and `visual_slots` (images, 2), see `LongVAModel.get_image_features`.

    Args:
        size: the side S of a grid in pixels. Like the other sizes it belongs to the model, not to a call.
        patch_size: of the vision tower, in pixels.
        image_grid_pinpoints: (width, height) in pixels that an image may be resized to.
    """

    model_input_names = ["pixel_values", "visual_slots"]  # noqa: RUF012 (transformers declares it so)
    valid_kwargs = LongVAImagesKwargs
    image_grid_pinpoints: ClassVar = default_pinpoints(SIDE)
    fixed = (*SquarePixels.fixed, "image_grid_pinpoints")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_attributes(**kwargs)

    @classmethod
    def from_config(cls, config: LongVAConfig, **kwargs: Any) -> "LongVAImageProcessor":
        """The processor that a model's configuration describes."""
        side, pinpoints = config.vision_config.image_size, [list(point) for point in config.grid_pinpoints]
        kwargs |= {"patch_size": config.vision_config.patch_size, "image_grid_pinpoints": pinpoints}
        return cls(size={"height": side, "width": side}, **kwargs)

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:  # type: ignore[override]
        """Preprocess images: PIL images, uint8 arrays or tensors (height, width, 3) or (3, height, width), or paths.

        Raises:
            ValueError: there are none, one has another dtype or shape, or is an address.
        """
        return_tensors = kwargs.pop("return_tensors", None) or "pt"
        levels = self.levels(**kwargs)
        stacks = [self.split(image) for image in flatten_images(images)]
        if not stacks:
            raise ValueError("no images were passed")
        tensors = {
            "pixel_values": torch.cat([normalise(pixels, levels) for pixels in stacks]),
            "visual_slots": torch.tensor([[IMAGE, len(pixels)] for pixels in stacks]),
        }
        return BatchFeature(tensors, tensor_type=return_tensors)

    def split(self, image: Image.Image) -> np.ndarray:
        """An image to uint8 (1 + grids, S, S, 3), the whole image first."""
        return split_image(image, self.side, self.image_grid_pinpoints)

    def num_slots(self, image_size: tuple[int, int]) -> int:
        """1 + grids: the number of slots that `split` returns for an image of (width, height)."""
        width, height = best_resolution(image_size, self.image_grid_pinpoints)
        return 1 + (width // self.side) * (height // self.side)

    def num_tokens(self, num_slots: int) -> int:
        """Visual tokens of an image of 1 + grids slots: 144 per grid in LongVA-7B. A single slot keeps all patches."""
        patches = self.side // self.patch_size
        return patches**2 if num_slots == 1 else (num_slots - 1) * (patches // UNIRES_STRIDE) ** 2


def flatten_images(images: Any) -> Iterator[Image.Image]:
    """All images of a nested list, in order."""
    if images is None:
        return
    if isinstance(images, (list, tuple)):
        for image in images:
            yield from flatten_images(image)
    elif getattr(images, "ndim", 0) == 4:
        for image in images:
            yield open_image(image)
    else:
        yield open_image(images)


def open_image(image: Any) -> Image.Image:
    """A PIL image from a PIL image, an array, a tensor or a path.

    Raises:
        ValueError: it is an address, or has another dtype or shape.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, (str, Path)):
        return ImageOps.exif_transpose(Image.open(local_path(image)))
    array = image.numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or 3 not in (array.shape[0], array.shape[-1]):
        raise ValueError(f"an image is {array.dtype} {array.shape}; use uint8 (height, width, 3)")
    return Image.fromarray(np.ascontiguousarray(array if array.shape[-1] == 3 else array.transpose(1, 2, 0)))


def local_path(path: str | Path) -> Path:
    """Raises ValueError for an address: nothing is fetched."""
    if "://" in str(path) or str(path).startswith("data:"):
        raise ValueError(f"{str(path)[:60]!r} is an address; download it and pass the path of the file")
    return Path(path)
