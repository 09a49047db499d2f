"""The ChatML conversation as token ids, with the frames in the first user turn.

    <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n
    <|im_start|>user\n FRAMES \nQUESTION<|im_end|>\n
    <|im_start|>assistant\n ANSWER <|im_end|>\n
    <|im_start|>user\n NEXT QUESTION<|im_end|>\n ...

Everything up to the last frame stays the same in a chat about one video, so its KV cache serves every question. (The
original demo puts the frames into the newest turn and prefills them again for each question.)
"""

import unicodedata

from longva_demo.errors import DemoError
from longva_demo.model import LongVAProcessor

SYSTEM = "You are a helpful assistant."
# About thirty pages; tokenising more would take seconds.
MAX_CHARACTERS = 50_000
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
# Letters and marks by their Unicode category, but invisible: fillers, joiners, variation selectors.
INVISIBLE = "\u034f\u115f\u1160\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))


def is_blank(text: str) -> bool:
    """Whether all of it is invisible: spaces, control and zero-width characters."""
    return all(unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf") or c in INVISIBLE for c in text)


class ChatTemplate:
    """Token ids of the parts of a conversation. Only the markers in this class become special tokens."""

    def __init__(self, processor: LongVAProcessor) -> None:
        self.processor = processor
        self.header = self._markup(f"{IM_START}system\n{SYSTEM}{IM_END}\n{IM_START}user\n")
        self._next_user = self._markup(f"\n{IM_START}user\n")
        self._after_frames = self._markup("\n")
        self._assistant = self._markup(f"{IM_END}\n{IM_START}assistant\n")
        [self.end_of_turn] = self._markup(IM_END)

    def question(self, text: str, *, first: bool, has_frames: bool, lines: str = "") -> list[int]:
        """Ids from the end of the frames or the last turn to the start of the answer.

        `text` comes from a user, and `lines`, which precede it, from a file: `<|im_end|>` or `<image>` in them stay
        plain text.

        Raises:
            DemoError: the question is empty or too long.
        """
        if len(text) > MAX_CHARACTERS:
            raise DemoError(f"the question has {len(text):,} characters", f"use {MAX_CHARACTERS:,} or fewer")
        text = text.strip()
        if is_blank(text):
            raise DemoError("the question is empty", "type what you want to know about the video")
        before_first = self._after_frames if has_frames else []
        before = before_first if first else self._next_user
        return [*before, *self.processor.encode_text(f"{lines}\n{text}" if lines else text), *self._assistant]

    def _markup(self, text: str) -> list[int]:
        return self.processor.encode_text(text, allow_special=True)
