"""What a chat is about: the protocol of a video with its frame plan, and of a picture."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

from longva_demo.chat.turn import FrameRef


class Source(Protocol):
    """What a chat is about: a `VideoSource` or an `ImageSource`."""

    @property
    def kind(self) -> Literal["video", "picture"]: ...

    @property
    def path(self) -> Path | None:
        """The file; None for a picture that did not come from one."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""

    @property
    def duration_seconds(self) -> float | None:
        """Of a video."""

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""

    @property
    def size_bytes(self) -> int:
        """Of the file."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys mean equal pixels."""

    @property
    def num_frames(self) -> int:
        """What it costs: frames of a video, grids of a picture."""

    @property
    def frame_refs(self) -> list[FrameRef]:
        """The video frames decoded so far; none for a picture."""

    @property
    def notes(self) -> list[str]:
        """What was lost or guessed while the file was read, one sentence each."""

    @property
    def complete(self) -> bool:
        """Whether everything is decoded."""

    @property
    def has_features(self) -> bool:
        """Whether the features of all frames are on disk, so that the vision tower need not run again."""

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes on disk, beside the file."""

    @property
    def memory_bytes(self) -> int:
        """Bytes that it takes in memory: the packet index of a video, the pixels of a picture."""

    @property
    def planned_bytes(self) -> int:
        """Bytes that its frames take on disk once all are decoded."""

    def ensure_decoded(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Decode what is not stored; yields in between. Ends early when `should_stop()` turns true."""

    def prefetch(self) -> bool:
        """Start to decode in the background. Returns False if that is done or running already."""

    def pause(self) -> None:
        """Stop the background decoding; a later one starts again."""

    def close(self) -> None:
        """Delete what is stored on disk."""
