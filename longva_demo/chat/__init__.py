"""Question → answer: read a video once, ask about it many times."""

from longva_demo.chat.budget import BudgetMeter, ReadTimes
from longva_demo.chat.engine import Engine
from longva_demo.chat.line import WaitingLine
from longva_demo.chat.record import ChatRecord, read_record
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.session import ChatSession
from longva_demo.chat.source import ImageSource, Source, VideoSource
from longva_demo.chat.turn import AnswerStats, FrameRef, Progress, TextDelta, Turn
from longva_demo.video.still import is_picture

__all__ = [
    "AnswerStats",
    "BudgetMeter",
    "ChatRecord",
    "ChatSession",
    "Engine",
    "FrameRef",
    "ImageSource",
    "Progress",
    "ReadTimes",
    "Sampling",
    "Source",
    "TextDelta",
    "Turn",
    "VideoSource",
    "WaitingLine",
    "is_picture",
    "read_record",
]
