"""ZeroGPU Spaces: GPU seconds per question, what they cost of a visitor's quota, and which PyTorch runs there.

A question borrows half a card. On some cards the package `spaces` asks for 1.5 times the seconds then, because half of
one is slower than half an H200; the visitor's quota pays for all of them.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch

from longva_demo.errors import DemoError, one_line

log = logging.getLogger(__name__)

# Seconds of half an H200: to start, per frame to encode or to load its features, per new token.
START, PER_NEW_FRAME, PER_ENCODED_FRAME, PER_TOKEN = 15.0, 0.08, 0.03, 0.05
MAX_SECONDS = 120.0  # of quota, for one question
TORCH_VERSIONS = ((2, 8), (2, 11))  # that ZeroGPU offered at the time of writing: first and last
LONG_SECONDS = 1000  # to measure the factor: `spaces` drops fractions of a second


@dataclass(frozen=True)
class Quota:
    """Quota seconds of a question about new frames: `start_seconds` and `frame_seconds` each, up to `max_seconds`."""

    start_seconds: float
    frame_seconds: float
    max_seconds: float


def is_zero_gpu() -> bool:
    """Whether this process runs on a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def quota_factor() -> float:
    """Quota seconds per second asked for. `spaces` multiplies by it; versions without this function do not."""
    try:
        from spaces.zero.client import get_duration_seconds

        return float(get_duration_seconds(timedelta(seconds=LONG_SECONDS), None)) / LONG_SECONDS
    except (ImportError, AttributeError, TypeError):
        return 1.0


def seconds_to_work(num_frames: int, has_features: bool, max_new_tokens: int) -> float:
    """GPU seconds of a question, without the start of the GPU, before `spaces` multiplies them."""
    return (PER_ENCODED_FRAME if has_features else PER_NEW_FRAME) * num_frames + PER_TOKEN * max_new_tokens


def quota_of(max_new_tokens: int) -> Quota | None:
    """The cost of a question in a visitor's quota, or None without a quota."""
    if not is_zero_gpu():
        return None
    factor = quota_factor()
    return Quota(factor * (START + PER_TOKEN * max_new_tokens), factor * PER_NEW_FRAME, MAX_SECONDS)


def warn_about_torch(version: str = torch.__version__) -> None:
    """Log one line if ZeroGPU is not known to work with this version of PyTorch."""
    (first, last), number = TORCH_VERSIONS, tuple(int(part) for part in version.split(".")[:2])
    if not first <= number <= last:
        known = f"PyTorch {first[0]}.{first[1]} to {last[0]}.{last[1]}"
        pin = f"torch=={last[0]}.{last[1]}.0"
        log.warning(
            "ZeroGPU is known to work with %s, and this is %s; put %s into requirements.txt", known, version, pin
        )


@contextmanager
def errors_of_zero_gpu() -> Iterator[None]:
    """Turn an error of `spaces`, such as an exhausted quota, into a DemoError of one line."""
    try:
        yield
    except DemoError:
        raise
    except Exception as error:
        title = str(getattr(error, "title", ""))
        if not title.startswith("ZeroGPU"):
            raise
        message = one_line(str(getattr(error, "message", error))).rstrip(".")
        raise DemoError(f"{title}: {message}", "try again later, or set a smaller budget") from error
