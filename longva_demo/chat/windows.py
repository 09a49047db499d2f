"""One question about many windows of a few frames each, every window on its own.

A prompt about a whole video answers what is in it, but not when: LongVA was never taught times. Asked about each window
alone, the answers' first tokens tell where in the video they are true. The windows form one batch. They have the same
number of tokens, so nothing is padded, and nothing is cached.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class WindowPrompt:
    """The token ids before and after the frames of a window, and the tokens whose probability is wanted."""

    before: list[int]
    after: list[int]
    tokens: tuple[int, ...]

    def num_tokens(self, windows: Tensor) -> int:
        """Of the prompt about one of the windows (windows, frames, tokens_per_frame, dim)."""
        return len(self.before) + windows.shape[1] * windows.shape[2] + len(self.after)


def first_token_log_probs(model: Any, prompt: WindowPrompt, windows: Tensor) -> Tensor:
    """Log-probabilities (windows, tokens), float32 on the CPU, of `prompt.tokens` as the answer's first token.

    `windows` are features (windows, frames, tokens_per_frame, dim), on any device.
    """
    ids = torch.tensor([*prompt.before, *prompt.after], device=model.device)
    before, after = model.get_input_embeddings()(ids).split([len(prompt.before), len(prompt.after)])
    frames = windows.to(model.device, before.dtype).flatten(1, 2)  # (windows, frames * tokens_per_frame, dim)
    shape = (len(windows), -1, -1)
    embeds = torch.cat([before.expand(shape), frames, after.expand(shape)], dim=1)
    logits = model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[:, -1].float()
    return logits.log_softmax(-1)[:, list(prompt.tokens)].cpu()
