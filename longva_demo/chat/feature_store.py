"""Features of encoded frames, on disk: a host where no KV cache survives a question need not encode them again."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

log = logging.getLogger(__name__)


class FeatureStore:
    """Features (frames, tokens_per_frame, dim) in one file per chunk, in the order of the frames."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num_saved = 0

    @property
    def is_complete(self) -> bool:
        """Whether the features of all frames are stored."""
        return self._mark.exists()

    def append(self, features: torch.Tensor, start: int) -> None:
        """Store the features of the frames from `start` on; 0 starts again.

        After an error, such as a full disk, the rest is not stored: the pixels remain.
        """
        if start == 0:
            self._num_saved = 0
        if start != self._num_saved:
            return
        file = self._folder / f"features-{start:06}.pt"
        new = file.with_suffix(".new")
        try:
            torch.save(features.cpu(), new)
            new.replace(file)  # whole at any moment: a search and a question may both store them
            self._num_saved += len(features)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
            log.warning("cannot store features: %s", error)
            with suppress(OSError):
                new.unlink()

    def finish(self, num_frames: int) -> None:
        """Mark the store as complete if it has the features of `num_frames` frames."""
        if self._num_saved == num_frames:
            with suppress(OSError):
                self._mark.touch()

    def load(self) -> Iterator[torch.Tensor]:
        """The stored features, in the chunks in which they were stored."""
        for path in sorted(self._folder.glob("features-*.pt")):
            yield torch.load(path, weights_only=True)

    @property
    def _mark(self) -> Path:
        return self._folder / "features.complete"
