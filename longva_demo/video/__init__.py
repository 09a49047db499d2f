"""Video file to frames: probe → plan → decode. Decoders run in a worker process that can be killed.

Importing this package imports neither a decoder, nor torch, nor gradio.
"""

from longva_demo.video.decode import FrameBatch, decode_frames
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.plan import FramePlan, frames_in_range, plan_frames
from longva_demo.video.preview import PreviewProgress, is_playable, make_preview
from longva_demo.video.probe import VideoInfo, file_sha256, probe

__all__ = [
    "DecodeLimits",
    "FrameBatch",
    "FramePlan",
    "PreviewProgress",
    "VideoInfo",
    "decode_frames",
    "file_sha256",
    "frames_in_range",
    "is_playable",
    "make_preview",
    "plan_frames",
    "probe",
]
