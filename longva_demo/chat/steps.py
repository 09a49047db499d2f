"""How much the model computes in one step, whatever a visitor sends.

The model runs one step at a time, in order of arrival (model_thread.py). During a step, other visitors get no output;
Stop takes effect between steps. These are all the steps, and what bounds each:

| step | where | bound |
|---|---|---|
| a chunk of text: header, earlier turns, question | `Engine.prefill_text_steps` | MAX_STEP_TOKENS and MAX_STEP_FLOP |
| a chunk of frames, or of a picture's grids | `Engine.prefill_frames`, `prefill_image` | the same |
| frames or grids in the vision tower | `Engine.encode_frames`, `prefill_image` | MAX_STEP_FRAMES |
| one new token, and the choice of it | `Engine.generate` | one token; at most 4,096 per answer |
| an answer's attention to the frames, one layer | `Engine.attribute_frames` | 32 rows, in chunks of 64 MB |
| a chunk of rows of an occlusion | `Engine.log_prob_drops` | BACKGROUND_SHARE of MAX_STEP_FLOP |
| a KV cache: allocated, copied, or restored | `Engine.new_cache`, `copy_cache`, `restore` | one copy of the KV cache |

Everything else consists of these: retry, edit, blind check, comparison of budgets, needle test, replay. A question has
at most `prompt.MAX_CHARACTERS` characters; tokenising it takes half a second, outside the model's thread.
"""

from dataclasses import dataclass
from typing import Self

import torch

from longva_demo.model import LongVAConfig

# Tokens of one step: 16 frames of LongVA-7B.
MAX_STEP_TOKENS = 2304
# On Apple's GPUs (MPS) 2 frames: their memory is the host's, and Stop waits for a step.
MAX_STEP_TOKENS_MPS = 288
# A step of fewer tokens is inefficient: it spends most of its time on loading the weights.
MIN_STEP_TOKENS = 64
# Frames, or grids of a picture, encoded in one step.
MAX_STEP_FRAMES = 16
# About a second. On a GPU, MAX_STEP_TOKENS tokens of LongVA-7B stay below it in all of its context.
MAX_STEP_FLOP = {"cpu": 4e10, "cuda": 2.5e14, "mps": 5e12}
# Occlusion runs in the background. Its steps are shorter, since others may wait for one at each of their tokens.
BACKGROUND_SHARE = 1 / 8


@dataclass(frozen=True)
class StepCost:
    """FLOP of the language model per token and per key that a token attends to, and the limit of one step."""

    per_token: int
    per_key: int
    max_flop: float
    max_tokens: int | None = None  # instead of MAX_STEP_TOKENS

    @classmethod
    def of(cls, config: LongVAConfig, device: torch.device) -> Self:
        """For LongVA-7B 13.05e9 FLOP per token and 401,408 per key."""
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
        projections = 2 * (heads + kv_heads) * config.head_size
        weights = config.hidden_size * (projections + 3 * config.intermediate_size)
        max_flop = MAX_STEP_FLOP.get(device.type, MAX_STEP_FLOP["cpu"])
        per_key = 4 * config.num_hidden_layers * heads * config.head_size
        max_tokens = MAX_STEP_TOKENS_MPS if device.type == "mps" else None
        return cls(2 * config.num_hidden_layers * weights, per_key, max_flop, max_tokens)

    def num_tokens(self, num_keys: int, share: float = 1.0) -> int:
        """How many tokens, each attending to `num_keys` keys, fit into a share of one step's FLOP.

        >>> StepCost(per_token=1000, per_key=10, max_flop=1e6).num_tokens(num_keys=300)
        250
        """
        affordable = int(share * self.max_flop / (self.per_token + self.per_key * num_keys))
        return min(self.max_tokens or MAX_STEP_TOKENS, max(MIN_STEP_TOKENS, affordable))
