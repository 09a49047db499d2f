"""Several pictures in one chat, one after another as frames are: UniRes puts nothing between grids."""

from collections.abc import Sequence
from typing import Literal

from longva_demo.chat.image_source import ImageSource, InMemory
from longva_demo.chat.turn import FrameRef


class PicturesSource(InMemory):
    """At least two pictures, in the order in which the model is given them."""

    kind: Literal["picture"] = "picture"
    path = duration_seconds = None
    complete, has_features, num_bytes, planned_bytes = True, False, 0, 0

    def __init__(self, images: Sequence[ImageSource]) -> None:
        assert len(images) > 1
        self.images = tuple(images)
        self.size = images[0].size
        self.key: tuple[object, ...] = ("images", *(image.key for image in images))
        self.sha256 = ",".join(image.sha256 for image in images)
        self.size_bytes = sum(image.size_bytes for image in images)
        self.num_frames = sum(image.num_frames for image in images)
        self.memory_bytes = sum(image.memory_bytes for image in images)
        self.notes: list[str] = []
        self.frame_refs: list[FrameRef] = []
