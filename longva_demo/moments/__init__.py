"""When does it happen: one question about each part of a video."""

from longva_demo.moments.chapters import Chapter, Outline, Outliner, find_chapters
from longva_demo.moments.curve import Range, ScoredFrame
from longva_demo.moments.find import (
    NUM_FRAMES,
    PRECISION_SECONDS,
    Finder,
    Moments,
    Search,
    default_frames,
    find_moments,
)

__all__ = [
    "NUM_FRAMES",
    "PRECISION_SECONDS",
    "Chapter",
    "Finder",
    "Moments",
    "Outline",
    "Outliner",
    "Range",
    "ScoredFrame",
    "Search",
    "default_frames",
    "find_chapters",
    "find_moments",
]
