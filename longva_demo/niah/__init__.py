"""V-NIAH: can a LongVA find a needle, one picture among thousands of video frames? (arXiv 2406.16852, section 4.2)"""

from longva_demo.niah.haystack import Haystack, drawn_frames, video_frames
from longva_demo.niah.needles import Needle, drawn_needles, load_needles
from longva_demo.niah.results import ResultFile, Summary
from longva_demo.niah.run import Cell, Grid, Result, run

__all__ = [
    "Cell",
    "Grid",
    "Haystack",
    "Needle",
    "Result",
    "ResultFile",
    "Summary",
    "drawn_frames",
    "drawn_needles",
    "load_needles",
    "run",
    "video_frames",
]
