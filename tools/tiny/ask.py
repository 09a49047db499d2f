"""Ask the bundled model questions through `longva_demo.model`, with greedy decoding."""

from collections.abc import Sequence
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


class TinyModel:
    """A loaded checkpoint that prefills frames once and answers any number of questions about them."""

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
    def prefill(self, frame_tokens: torch.Tensor | None, chunk: int = 4096) -> DynamicCache:
        """The KV cache after the system text and the frame tokens (frames, 9, dim), or any other embeddings."""
        parts = [self.embed(SYSTEM)]
        if frame_tokens is not None:
            parts += [frame_tokens.flatten(0, -2)[None], self.embed("\n")]
        cache = DynamicCache()
        for part in torch.cat(parts, dim=1).split(chunk, dim=1):
            self.model.model(inputs_embeds=part, past_key_values=cache, use_cache=True)
        return cache

    @torch.inference_mode()
    def answer(self, cache: DynamicCache, question: str, max_new_tokens: int = 80, keep: bool = False) -> str:
        """Greedy answer. The cache is restored; with `keep`, it holds this turn and the start of the next."""
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
        """Ask each question on its own."""
        cache = self.prefill(frame_tokens)
        return [self.answer(cache, question) for question in questions]

    def converse(self, frame_tokens: torch.Tensor | None, questions: Sequence[str]) -> list[str]:
        """Ask the questions as turns of one conversation."""
        cache = self.prefill(frame_tokens)
        return [self.answer(cache, question, keep=True) for question in questions]
