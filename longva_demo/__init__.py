"""Ask about long videos with LongVA, and see which frames the model was given.

    import longva_demo as longva

    chat = longva.open("clip.mp4", frames=64)
    for text in chat.stream("Which digit is shown?"):
        print(text, end="")

Names are imported when they are first used: importing the package loads neither torch nor a decoder.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# PyTorch's CPU threads sleep while they wait for each other. Spinning, the default, takes the core away from the
# decoder that they wait for. PyTorch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "Chat": "longva_demo.conversation",
    "DemoError": "longva_demo.errors",
    "Frame": "longva_demo.frames",
    "Line": "longva_demo.timed_text",
    "Moments": "longva_demo.moments",
    "Progress": "longva_demo.chat",
    "TextDelta": "longva_demo.chat",
    "chapters": "longva_demo.whole_video",
    "decode": "longva_demo.frames",
    "find": "longva_demo.whole_video",
    "open": "longva_demo.conversation",
    "sample": "longva_demo.frames",
    "words": "longva_demo.timed_text",
}
__all__ = [
    "Chat",
    "DemoError",
    "Frame",
    "Line",
    "Moments",
    "Progress",
    "TextDelta",
    "chapters",
    "decode",
    "find",
    "open",
    "sample",
    "words",
]

if TYPE_CHECKING:
    from longva_demo.chat import Progress, TextDelta
    from longva_demo.conversation import Chat, open
    from longva_demo.errors import DemoError
    from longva_demo.frames import Frame, decode, sample
    from longva_demo.moments import Moments
    from longva_demo.timed_text import Line, words
    from longva_demo.whole_video import chapters, find


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
