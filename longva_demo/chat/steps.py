"""How much the model computes in one step, whatever a visitor sends.

The model serves one step at a time, in order of arrival (model_thread.py). While a step runs, no other visitor gets a
word; Stop takes effect between steps. These are all the steps, and what bounds each:

| step | where | bound |
|---|---|---|
| a chunk of text: header, earlier turns, question | `Engine.prefill_text_steps` | MAX_STEP_TOKENS and MAX_STEP_FLOP |
| the same of frames or of a picture's grids | `Engine.prefill_frames`, `prefill_image` | the same |
| frames or grids through the vision tower | `Engine.encode_frames`, `prefill_image` | MAX_STEP_FRAMES |
| one new token, and its choice among the vocabulary | `Engine.generate` | one token; at most 4,096 of them an answer |
| an answer's attention to the frames, one layer | `Engine.attribute_frames` | 32 rows, swept in pieces of 64 MB |
| a chunk of rows while frames are hidden | `Engine.log_prob_drops` | BACKGROUND_SHARE of MAX_STEP_FLOP |
| a cache: made, copied, or restored | `Engine.new_cache`, `copy_cache`, `restore` | one copy of the KV cache |

Everything else is made of these: retry, edit, blind check, comparison of budgets, needle test, replay. A question has
at most `prompt.MAX_CHARACTERS` characters; it becomes tokens outside the model's thread, in half a second.
"""

from dataclasses import dataclass
from typing import Self

import torch

from longva_demo.model import LongVAConfig

# Tokens of one step: 16 frames of LongVA-7B.
MAX_STEP_TOKENS = 2304
# Below this many the step is slow for what it computes: most of it goes into reading the weights.
MIN_STEP_TOKENS = 64
# Frames, or grids of a picture, that are encoded in one step.
MAX_STEP_FRAMES = 16
# About a second, by kind of device. On a GPU MAX_STEP_TOKENS tokens of LongVA-7B stay below it in all of its context.
MAX_STEP_FLOP = {"cpu": 4e10, "cuda": 2.5e14}
# Hiding frames runs in the background: its steps are shorter, since others wait for them at each of their tokens.
BACKGROUND_SHARE = 1 / 8


@dataclass(frozen=True)
class StepCost:
    """FLOP of the language model: of each token, of each key that a token attends to, and the most of one step."""

    per_token: int
    per_key: int
    most: float

    @classmethod
    def of(cls, config: LongVAConfig, device: torch.device) -> Self:
        """For LongVA-7B 13.05e9 FLOP a token and 401,408 a key."""
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
        projections = 2 * (heads + kv_heads) * config.head_size
        weights = config.hidden_size * (projections + 3 * config.intermediate_size)
        most = MAX_STEP_FLOP.get(device.type, MAX_STEP_FLOP["cpu"])
        per_key = 4 * config.num_hidden_layers * heads * config.head_size
        return cls(2 * config.num_hidden_layers * weights, per_key, most)

    def num_tokens(self, num_keys: int, share: float = 1.0) -> int:
        """How many tokens, each attending to `num_keys` keys, one step may compute with a share of its FLOP.

        >>> StepCost(per_token=1000, per_key=10, most=1e6).num_tokens(num_keys=300)
        250
        """
        affordable = int(share * self.most / (self.per_token + self.per_key * num_keys))
        return min(MAX_STEP_TOKENS, max(MIN_STEP_TOKENS, affordable))
