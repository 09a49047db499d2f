"""V-NIAH: can a LongVA find a needle, one picture among thousands of video frames? (arXiv 2406.16852, section 4.2)

Its successors hide near misses, several pictures, or clips (`tasks.py`).
"""

from longva_demo.niah.drawn import drawn_needles
from longva_demo.niah.grid import Cell, Grid
from longva_demo.niah.haystack import Haystack, drawn_frames, video_frames
from longva_demo.niah.needle import Asked, Footage, Needle
from longva_demo.niah.needles import load_needles
from longva_demo.niah.results import ResultFile, Summary
from longva_demo.niah.run import Result, run
from longva_demo.niah.tasks import Kind, Task

__all__ = [
    "Asked",
    "Cell",
    "Footage",
    "Grid",
    "Haystack",
    "Kind",
    "Needle",
    "Result",
    "ResultFile",
    "Summary",
    "Task",
    "drawn_frames",
    "drawn_needles",
    "load_needles",
    "run",
    "video_frames",
]
