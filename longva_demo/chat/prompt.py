"""The ChatML conversation as token ids, with the frames in the first user turn.

    <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n
    <|im_start|>user\n FRAMES \nQUESTION<|im_end|>\n
    <|im_start|>assistant\n ANSWER <|im_end|>\n
    <|im_start|>user\n NEXT QUESTION<|im_end|>\n ...

Everything up to the last frame never changes while the same video is discussed, so its KV cache serves every
question. (The original demo puts the frames into the newest turn and reads them again for each question.)
"""

import unicodedata

from longva_demo.errors import DemoError
from longva_demo.model import LongVAProcessor

SYSTEM = "You are a helpful assistant."
# Some thirty pages; more would be another kind of question, and cost seconds to turn into tokens.
MAX_CHARACTERS = 50_000
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
# Letters and marks by their Unicode category, but drawn as nothing: fillers, joiners, variation selectors.
DRAWN_AS_NOTHING = "\u034f\u115f\u1160\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: spaces, control and zero-width characters."""
    return all(unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf") or c in DRAWN_AS_NOTHING for c in text)


class ChatTemplate:
    """Token ids of the parts of a conversation. Only the markers written here become special tokens."""

    def __init__(self, processor: LongVAProcessor) -> None:
        self.processor = processor
        self.header = self._markup(f"{IM_START}system\n{SYSTEM}{IM_END}\n{IM_START}user\n")
        self._next_user = self._markup(f"\n{IM_START}user\n")
        self._after_frames = self._markup("\n")
        self._assistant = self._markup(f"{IM_END}\n{IM_START}assistant\n")
        [self.end_of_turn] = self._markup(IM_END)

    def question(self, text: str, *, first: bool, has_frames: bool) -> list[int]:
        """Ids from the end of what came before up to where the answer begins.

        `text` is what a person typed: `<|im_end|>` or `<image>` in it stay plain text.

        Raises:
            DemoError: the question is empty, or far too long.
        """
        if len(text) > MAX_CHARACTERS:
            raise DemoError(f"the question has {len(text):,} characters", f"ask it in {MAX_CHARACTERS:,} or fewer")
        text = text.strip()
        if is_blank(text):
            raise DemoError("the question is empty", "type what you want to know about the video")
        first_lead = self._after_frames if has_frames else []
        lead = first_lead if first else self._next_user
        return [*lead, *self.processor.encode_text(text), *self._assistant]

    def _markup(self, text: str) -> list[int]:
        return self.processor.encode_text(text, allow_special=True)
