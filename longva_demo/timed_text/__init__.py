"""What is said and written in a video, as lines with times: subtitles, speech and text in the frames.

The packages that read them are optional and are imported in workers, or on first use.
"""

from longva_demo.timed_text.formats import FORMATS, read_json, write_lines
from longva_demo.timed_text.line import SOURCES, Line
from longva_demo.timed_text.read import installed_sources, read_lines, seldom, words
from longva_demo.timed_text.search import matching_lines
from longva_demo.timed_text.update import NUM_FRAMES, SPEECH_MODEL, Collected, Request, Update, parse_sources

__all__ = [
    "FORMATS",
    "NUM_FRAMES",
    "SOURCES",
    "SPEECH_MODEL",
    "Collected",
    "Line",
    "Request",
    "Update",
    "installed_sources",
    "matching_lines",
    "parse_sources",
    "read_json",
    "read_lines",
    "seldom",
    "words",
    "write_lines",
]
