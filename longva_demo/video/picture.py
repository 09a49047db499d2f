"""Still pictures as the model and the page need them: a few small arrays, made in a worker process."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from longva_demo.quotas import CLIENT, PICTURES
from longva_demo.unires import split_image
from longva_demo.video._worker.process import WorkerProcess
from longva_demo.video._worker.wire import unpack_arrays
from longva_demo.video.limits import DecodeLimits

MAX_SECONDS = 120.0  # for one picture, since others wait for it; the slowest take 20 s of CPU time
MAX_WAIT_SECONDS = 60.0
ROWS_PER_BLOCK = 64  # hashed at a time, to bound memory


@dataclass(frozen=True)
class Picture:
    """What is kept of a picture.

    size: (width, height) in pixels, as displayed.
    sha256: of its RGB pixels, in hexadecimal.
    small: uint8 (height, width, 3), a copy for display.
    slots: uint8 (1 + grids, S, S, 3), see `split_image`; (0, 0, 0, 3) if no grids were asked for.
    """

    size: tuple[int, int]
    sha256: str
    small: np.ndarray
    slots: np.ndarray


def read_picture(
    path: Path,
    max_side: int,
    side: int = 0,
    pinpoints: Sequence[Sequence[int]] = (),
    limits: DecodeLimits | None = None,
) -> Picture:
    """Open a picture in a worker process. Waits while another picture is opened.

    Args:
        max_side: of the copy for display, in pixels.
        side, pinpoints: of the model's grids, as in `split_image`. By default there are none.

    Raises:
        VideoError: the file is not a picture, is damaged or exceeds a limit, or the worker crashed or was killed.
        QuotaError: it waited for too long.
    """
    limits = limits or DecodeLimits()
    seconds = min(limits.timeout_seconds, MAX_SECONDS)
    # Decoding sends no heartbeats, so only the time limit counts.
    limits = replace(limits, timeout_seconds=seconds, stall_seconds=2 * seconds)
    request = {
        "task": "picture",
        "path": str(path.resolve()),
        "limits": limits.to_dict(),
        "max_side": max_side,
        "side": side,
        "pinpoints": [list(point) for point in pinpoints],
    }
    client = CLIENT.get() or "this machine"
    PICTURES.acquire(client, MAX_WAIT_SECONDS)
    try:
        with WorkerProcess(path.name, request, b"", limits) as worker:
            message, payload = worker.receive()
    finally:
        PICTURES.release(client)
    arrays = unpack_arrays(message["arrays"], payload)
    small, slots = (arrays[name].reshape(message["shapes"][name]).copy() for name in ("small", "slots"))
    return Picture(tuple(message["size"]), message["sha256"], small, slots)


def condense(image: Image.Image, max_side: int, side: int = 0, pinpoints: Sequence[Sequence[int]] = ()) -> Picture:
    """The same of an open picture in mode RGB, which is scaled down in place."""
    size, sha256 = image.size, pixels_sha256(image)
    slots = split_image(image, side, pinpoints) if side else np.empty((0, 0, 0, 3), np.uint8)
    image.thumbnail((max_side, max_side))
    return Picture(size, sha256, np.asarray(image), slots)


def pixels_sha256(image: Image.Image) -> str:
    """SHA-256 of the pixels, row by row, in hexadecimal."""
    digest = hashlib.sha256()
    for top in range(0, image.height, ROWS_PER_BLOCK):
        block = image.crop((0, top, image.width, min(top + ROWS_PER_BLOCK, image.height)))
        digest.update(block.tobytes())
    return digest.hexdigest()
