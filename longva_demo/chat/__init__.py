"""Question → answer: prefill a video once, ask about it many times."""

from longva_demo.chat.attribution import Attribution
from longva_demo.chat.budget import BudgetMeter, PrefillTimes
from longva_demo.chat.engine import Capability, Engine, ModelInfo
from longva_demo.chat.image_source import ImageSource
from longva_demo.chat.local_engine import LocalEngine
from longva_demo.chat.open_engine import open_engine
from longva_demo.chat.pictures import PicturesSource
from longva_demo.chat.queue import AdmissionQueue
from longva_demo.chat.record import ChatRecord, read_record
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import Source
from longva_demo.chat.turn import AnswerStats, CacheStatus, FrameRef, Progress, Stage, TextDelta, Turn
from longva_demo.chat.video_source import VideoSource

__all__ = [
    "AdmissionQueue",
    "AnswerStats",
    "Attribution",
    "BudgetMeter",
    "CacheStatus",
    "Capability",
    "ChatRecord",
    "ChatSession",
    "Engine",
    "FrameRef",
    "ImageSource",
    "LocalEngine",
    "ModelInfo",
    "PicturesSource",
    "PrefillTimes",
    "Progress",
    "Sampling",
    "Source",
    "Stage",
    "TextDelta",
    "Turn",
    "VideoSource",
    "open_engine",
    "read_record",
]
