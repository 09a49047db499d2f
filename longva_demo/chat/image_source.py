"""A picture, as what a chat is about."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from PIL import Image

from longva_demo.chat.turn import FrameRef
from longva_demo.model import LongVAProcessor
from longva_demo.video import DecodeLimits, file_sha256
from longva_demo.video.picture import condense, read_picture

THUMBNAIL_SIDE = 1280  # pixels; the page shows nothing larger


class InMemory:
    """A source that is whole when it is made."""

    def ensure_decoded(self, should_stop: Callable[[], bool]) -> Iterator[None]:  # noqa: ARG002
        return iter(())

    def prefetch(self) -> bool:
        return False

    def pause(self) -> None:
        """Nothing runs in the background."""

    def close(self) -> None:
        """Nothing is stored."""


class ImageSource(InMemory):
    """One picture, cut into grids (UniRes) for the model. Nothing of it is stored on disk.

    Its pixels are kept in small sizes only: a page stays open for hours.
    """

    kind: Literal["picture"] = "picture"
    complete, has_features, num_bytes, planned_bytes = True, False, 0, 0
    duration_seconds = None

    def __init__(
        self, image: Image.Image | str | Path, processor: LongVAProcessor, limits: DecodeLimits | None = None
    ) -> None:
        """Decodes the picture, if it is a file in a worker process.

        Raises:
            VideoError: no such file, not a picture, damaged, with more than 100 million pixels, or a limit was hit.
        """
        cutter = processor.image_processor
        if isinstance(image, Image.Image):
            self.path = None
            rgb = image.copy() if image.mode == "RGB" else image.convert("RGB")
            picture = condense(rgb, THUMBNAIL_SIDE, cutter.side, cutter.image_grid_pinpoints)
        else:
            self.path = Path(image)
            picture = read_picture(self.path, THUMBNAIL_SIDE, cutter.side, cutter.image_grid_pinpoints, limits)
        self.size = picture.size
        self.key: tuple[object, ...] = ("image", picture.size, picture.sha256)
        self.thumbnail = Image.fromarray(picture.small)
        self.size_bytes = self.path.stat().st_size if self.path else 0
        self.sha256 = file_sha256(self.path) if self.path else ""
        self.notes: list[str] = []
        self.slots = picture.slots  # (1 + grids, S, S, 3) uint8, the base picture first
        self.num_frames = len(self.slots) - 1  # a grid costs as much as a frame
        self.frame_refs: list[FrameRef] = []

    @property
    def memory_bytes(self) -> int:
        return self.slots.nbytes + 3 * self.thumbnail.width * self.thumbnail.height
