"""Decode a plan's frames into arrays, in batches of bounded size."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._worker.process import WorkerProcess
from longva_demo.video._worker.shared import Ring, anonymous_file
from longva_demo.video._worker.wire import pack_arrays
from longva_demo.video.limits import MIB, DecodeLimits
from longva_demo.video.plan import FramePlan
from longva_demo.video.probe import VideoInfo, check_decoder, check_unchanged, probe

NUM_SLOTS = 2  # the worker fills one while the other is copied out
MAX_BATCH_FRAMES = 16  # also bounds batches of small frames, so that the page can show progress


@dataclass(frozen=True)
class FrameBatch:
    """Decoded frames in display order. The arrays are copies that stay valid.

    pixels: uint8 (frames, height, width, 3), RGB, as displayed. A batch that only carries notes has 0 frames.
    seconds, indices: presentation time and frame number of each frame.
    notes: what was lost or damaged since the last batch, one sentence each.
    """

    pixels: np.ndarray
    seconds: tuple[float, ...]
    indices: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8, self.pixels.dtype
        assert self.pixels.ndim == 4, self.pixels.shape
        assert self.pixels.shape[3] == 3, self.pixels.shape
        assert len(self.pixels) == len(self.seconds) == len(self.indices), (self.pixels.shape, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        span = f", {self.seconds[0]:.3f}–{self.seconds[-1]:.3f} s" if self.seconds else ""
        notes = f", notes={list(self.notes)}" if self.notes else ""
        return f"FrameBatch(pixels={self.pixels.shape} {self.pixels.dtype}{span}{notes})"


def decode_frames(
    path: str | os.PathLike[str],
    plan: FramePlan,
    *,
    info: VideoInfo | None = None,
    decoder: str = "pyav",
    limits: DecodeLimits | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[FrameBatch]:
    """Yield the planned frames in order while a worker process decodes the next ones.

    `info` saves a second probe. `size` is the (width, height) of the frames; the default is full size. Scaled frames
    are for display only: no model was trained on this scaling. Only pyav supports `size`. Pixels in flight (two shared
    slots and the copy handed out) are bounded by `limits.chunk_bytes`, whatever the budget. Frames that cannot be
    decoded are missing from the batches and named in a note. Closing the iterator ends the worker at once.

    Raises:
        VideoError: no frame could be decoded, a limit was exceeded, or the worker crashed or was killed.
    """
    limits = limits or DecodeLimits()
    check_decoder(decoder)
    file = Path(path)
    if info is None:
        info = probe(file, limits, decoder=decoder)
    check_unchanged(file, info, limits)
    if plan.indices[-1] >= info.num_frames:
        message = f"frame {plan.indices[-1]} is out of range: {file.name} has {info.num_frames} frames"
        raise VideoError(message, f"use frame numbers from 0 to {info.num_frames - 1}")
    return _batches(decode_request(file, plan, info, limits, decoder, size), plan, file, limits)


def _batches(
    request: tuple[dict[str, Any], bytes], plan: FramePlan, file: Path, limits: DecodeLimits
) -> Iterator[FrameBatch]:
    fields, payload = request
    slot_bytes, size = fields["slot_bytes"], (fields["width"], fields["height"])
    num_frames = 0
    with anonymous_file() as shared:
        try:
            os.ftruncate(shared.fileno(), NUM_SLOTS * slot_bytes)
            ring = Ring(shared.fileno(), NUM_SLOTS, slot_bytes)
        except OSError as error:
            size_mb = NUM_SLOTS * slot_bytes / MIB
            raise VideoError(
                f"cannot allocate {size_mb:.0f} MB for frames ({error.strerror})", "free some memory and try again"
            ) from error
        try:
            with WorkerProcess(file.name, fields, payload, limits, shared) as worker:
                while True:
                    message, _ = worker.receive()
                    batch = _batch(message, ring, size)
                    if message["kind"] == "done":
                        break
                    worker.release(message["slot"])
                    num_frames += len(batch)
                    yield batch
        finally:
            ring.close()
    if num_frames == 0:
        raise VideoError(
            f"none of the {plan.num_frames} frames of {file.name} could be decoded",
            "the file is damaged there; choose another range, or convert the video to an MP4 with H.264",
        )
    if batch.notes:
        yield batch


def decode_request(
    file: Path,
    plan: FramePlan,
    info: VideoInfo,
    limits: DecodeLimits,
    decoder: str = "pyav",
    size: tuple[int, int] | None = None,
) -> tuple[dict[str, Any], bytes]:
    """The request for a worker, and its payload. `size` is the (width, height) of the frames; None is full size."""
    width, height = size or (info.width, info.height)
    frame_bytes = height * width * 3
    slot_frames = max(1, min(MAX_BATCH_FRAMES, plan.num_frames, limits.chunk_bytes // (NUM_SLOTS + 1) // frame_bytes))
    layout, payload = pack_arrays(info.index["arrays"])
    request = {
        "task": "decode",
        "path": str(file.resolve()),
        "decoder": decoder,
        "limits": limits.to_dict(),
        "width": width,
        "height": height,
        "scale": info.scale_to(width, height),
        "rotation": info.rotation,
        "is_mirrored": info.is_mirrored,
        "indices": plan.indices,
        "seconds": plan.seconds,
        "num_slots": NUM_SLOTS,
        "slot_bytes": slot_frames * frame_bytes,
        "slot_frames": slot_frames,
        "arrays": layout,
        "flags": info.index["flags"],
    }
    return request, payload


def _batch(message: dict[str, Any], ring: Ring, size: tuple[int, int]) -> FrameBatch:
    count, (width, height) = len(message["indices"]), size
    shape = (count, height, width, 3)
    pixels = np.empty(shape, dtype=np.uint8)
    if count:
        slot = np.frombuffer(ring.slot(message["slot"]), dtype=np.uint8, count=pixels.size)
        pixels[:] = slot.reshape(shape)
        del slot  # the ring cannot be unmapped while an array refers to it
    return FrameBatch(pixels, tuple(message["seconds"]), tuple(message["indices"]), tuple(message["notes"]))
