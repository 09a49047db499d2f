"""Asking the bundled model through the product: its processor, its model, greedy answers."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from transformers.cache_utils import DynamicCache

from longva_demo.model import LongVAForConditionalGeneration, LongVAProcessor
from longva_demo.model.hub import TINY_FOLDER

WEIGHTS = TINY_FOLDER
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
TURN_NEXT = "<|im_end|>\n<|im_start|>user\n"
TURN_END = "<|im_end|>\n<|im_start|>assistant\n"


class Asker:
    """A loaded model that reads frames once and then takes any number of separate questions about them."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self.processor = LongVAProcessor.from_pretrained(folder)
        model = LongVAForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model: LongVAForConditionalGeneration = model.eval()

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> torch.Tensor:
        """uint8 (frames, height, width, 3) of any size → frame tokens (frames, 9, dim)."""
        pixels = self.processor.normalise(self.processor.preprocess_frames(frames))
        return torch.cat([self.model.encode_frames(part) for part in pixels.split(256)])

    @torch.inference_mode()
    def embed(self, text: str) -> torch.Tensor:
        """(1, tokens, dim)."""
        ids = self.processor.encode_text(text, allow_special=True)
        return self.model.get_input_embeddings()(torch.tensor([ids]))

    @torch.inference_mode()
    def read(self, frame_tokens: torch.Tensor | None, chunk: int = 4096) -> DynamicCache:
        """The cache after the system text and the frames (frames, 9, dim), or anything else that is embedded."""
        parts = [self.embed(SYSTEM)]
        if frame_tokens is not None:
            parts += [frame_tokens.flatten(0, -2)[None], self.embed("\n")]
        cache = DynamicCache()
        for part in torch.cat(parts, dim=1).split(chunk, dim=1):
            self.model.model(inputs_embeds=part, past_key_values=cache, use_cache=True)
        return cache

    @torch.inference_mode()
    def answer(self, cache: DynamicCache, question: str, max_new_tokens: int = 80, keep: bool = False) -> str:
        """Greedy answer. The cache is left as it was, or with `keep` holds the turn and the next one's opening."""
        length = cache.get_seq_length()
        hidden = self.model.model(
            inputs_embeds=self.embed(question + TURN_END), past_key_values=cache, use_cache=True
        ).last_hidden_state
        found: list[int] = []
        end = self.processor.tokenizer.eos_token_id
        for _ in range(max_new_tokens):
            token = int(self.model.lm_head(hidden[:, -1]).argmax(-1))
            if token == end:
                break
            found.append(token)
            embedded = self.model.get_input_embeddings()(torch.tensor([[token]]))
            hidden = self.model.model(inputs_embeds=embedded, past_key_values=cache, use_cache=True).last_hidden_state
        if keep:
            self.model.model(inputs_embeds=self.embed(TURN_NEXT), past_key_values=cache, use_cache=True)
        else:
            cache.crop(length - cache.get_seq_length())
        return self.processor.decode(found)

    def ask(self, frame_tokens: torch.Tensor | None, questions: Sequence[str]) -> list[str]:
        cache = self.read(frame_tokens)
        return [self.answer(cache, question) for question in questions]

    def converse(self, frame_tokens: torch.Tensor | None, questions: Sequence[str]) -> list[str]:
        """The same questions as turns of one conversation: each answer stays in sight of the next question."""
        cache = self.read(frame_tokens)
        return [self.answer(cache, question, keep=True) for question in questions]


@lru_cache(maxsize=1)
def bundled() -> Asker:
    return Asker()
