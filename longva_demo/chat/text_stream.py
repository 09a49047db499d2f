"""Token ids to text, while they arrive."""

from tokenizers.decoders import DecodeStream

from longva_demo.model import LongVAProcessor


class TextStream:
    """Decodes token ids to text, whole characters only."""

    def __init__(self, processor: LongVAProcessor) -> None:
        self._tokenizer = processor.tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def add(self, token: int) -> str:
        """The text that this token completes; empty within a character."""
        return self._stream.step(self._tokenizer, token) or ""
