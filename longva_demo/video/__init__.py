"""Video file to frames: probe → plan → decode. Decoders run in a worker process that can be killed.

Importing this package imports no decoder, torch or gradio.
"""

from typing import TYPE_CHECKING, Any

from longva_demo.video.decode import FrameBatch, decode_frames
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.plan import FramePlan, frames_in_range, plan_frames
from longva_demo.video.preview import PreviewProgress, is_playable, make_preview
from longva_demo.video.probe import VideoInfo, file_sha256, probe

if TYPE_CHECKING:
    from longva_demo.video.still import is_picture, open_image

__all__ = [
    "DecodeLimits",
    "FrameBatch",
    "FramePlan",
    "PreviewProgress",
    "VideoInfo",
    "decode_frames",
    "file_sha256",
    "frames_in_range",
    "is_picture",
    "is_playable",
    "make_preview",
    "open_image",
    "plan_frames",
    "probe",
]


def __getattr__(name: str) -> Any:
    """Import Pillow on first use: the worker of a video does not need it."""
    if name not in ("is_picture", "open_image"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from longva_demo.video import still

    return getattr(still, name)
