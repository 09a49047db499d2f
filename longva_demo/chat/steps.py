"""How much the model computes in one step, whatever a visitor sends.

The model runs one step at a time, in order of arrival (model_thread.py). During a step, other visitors get no output;
Stop takes effect between steps. These are all the steps, and what bounds each:

| step | method of `LocalEngine` | bound |
|---|---|---|
| a chunk of text: header, earlier turns, question | `prefill_text_steps` | MAX_STEP_TOKENS and MAX_STEP_FLOP |
| a chunk of frames, or of a picture's grids | `prefill_frames`, `prefill_image` | the same; in 8 bits, layers |
| frames or grids in the vision tower | `encode_frames`, `prefill_image` | MAX_STEP_FRAMES |
| one new token, and the choice of it | `generate` | one token; at most 4,096 per answer |
| an answer's attention to the frames, one layer | `attribute_frames` | 32 rows, in chunks of 64 MB |
| a chunk of rows of an occlusion | `log_prob_drops` | BACKGROUND_SHARE of MAX_STEP_FLOP |
| windows of frames, each with a question | `window_log_probs` | as a chunk of text; at least one window |
| a KV cache: allocated, copied, or restored | `new_cache`, `copy_cache`, `restore` | one copy of the KV cache |

Everything else consists of these: retry, edit, blind check, comparison of budgets, needle test, replay. A question has
at most `prompt.MAX_CHARACTERS` characters; tokenising it takes half a second, outside the model's thread.

In 8 bits on a processor a step takes up to SLOW_STEP_SECONDS, by the estimate of its speed: shorter ones would spend
most of their time on converting weights. Frames then pass the language model some layers at a time (layerwise.py).
"""

from dataclasses import dataclass
from typing import Self

import torch

from longva_demo.model import LongVAConfig
from longva_demo.model.estimate import PREFILL_EFFICIENCY, Estimate

# Tokens of one step: 16 frames of LongVA-7B.
MAX_STEP_TOKENS = 2304
# On Apple's GPUs (MPS) 2 frames: their memory is the host's, and Stop waits for a step.
MAX_STEP_TOKENS_MPS = 288
# A step of fewer tokens is inefficient: it spends most of its time on loading the weights.
MIN_STEP_TOKENS = 64
# In 8 bits on a processor, where so few take seconds; int8.py does not convert weights for them.
MIN_SLOW_STEP_TOKENS = 16
# Tokens of one pass in steps of some layers: 10 frames of LongVA-7B. More would cost memory and save no time.
MAX_PASS_TOKENS = 1536
# Frames, or grids of a picture, encoded in one step.
MAX_STEP_FRAMES = 16
# About a second. On a GPU, MAX_STEP_TOKENS tokens of LongVA-7B stay below it in all of its context.
MAX_STEP_FLOP = {"cpu": 4e10, "cuda": 2.5e14, "mps": 5e12}
# In 8 bits on a processor. Progress and Stop should take less than 10 s, and an estimate can be wrong by a third.
SLOW_STEP_SECONDS = 7.0
# Occlusion runs in the background. Its steps are shorter, since others may wait for one at each of their tokens.
BACKGROUND_SHARE = 1 / 8


@dataclass(frozen=True)
class StepCost:
    """FLOP of the language model per token and per key that a token attends to, and the limit of one step.

    `num_layers` is the number of parts that a pass over many tokens can be split into.
    """

    per_token: int
    per_key: int
    max_flop: float
    num_layers: int = 1
    max_frames: int = MAX_STEP_FRAMES
    max_tokens: int | None = None  # instead of MAX_STEP_TOKENS

    @classmethod
    def of(cls, config: LongVAConfig, device: torch.device, estimate: Estimate | None = None) -> Self:
        """For LongVA-7B 13.05e9 FLOP per token and 401,408 per key."""
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
        projections = 2 * (heads + kv_heads) * config.head_size
        weights = config.hidden_size * (projections + 3 * config.intermediate_size)
        per_token = 2 * config.num_hidden_layers * weights
        per_key = 4 * config.num_hidden_layers * heads * config.head_size
        if estimate is None:
            max_tokens = MAX_STEP_TOKENS_MPS if device.type == "mps" else None
            max_flop = MAX_STEP_FLOP.get(device.type, MAX_STEP_FLOP["cpu"])
            return cls(per_token, per_key, max_flop, max_tokens=max_tokens)
        seconds, speed = SLOW_STEP_SECONDS * PREFILL_EFFICIENCY, estimate.speed
        max_frames = min(MAX_STEP_FRAMES, max(1, int(seconds * speed.flop / estimate.size.frame_flop)))
        max_flop = seconds * speed.layer_flop
        return cls(per_token, per_key, max_flop, config.num_hidden_layers, max_frames)

    def num_tokens(self, num_keys: int, share: float = 1.0) -> int:
        """How many tokens, each attending to `num_keys` keys, fit into a share of one step's FLOP.

        >>> StepCost(per_token=1000, per_key=10, max_flop=1e6).num_tokens(num_keys=300)
        250
        """
        affordable = int(share * self.max_flop / (self.per_token + self.per_key * num_keys))
        minimum = MIN_STEP_TOKENS if self.num_layers == 1 else MIN_SLOW_STEP_TOKENS
        return min(self.max_tokens or MAX_STEP_TOKENS, max(minimum, affordable))

    def num_tokens_of_pass(self, num_keys: int) -> int:
        """The same for a pass over frames, of which a step runs at least one layer."""
        if self.num_layers == 1:
            return self.num_tokens(num_keys)
        return min(MAX_PASS_TOKENS, self.num_tokens(num_keys, self.num_layers))

    def num_layers_of_step(self, num_tokens: int, num_keys: int) -> int:
        """How many layers of a pass fit into one step.

        >>> StepCost(per_token=1000, per_key=10, max_flop=1e6, num_layers=4).num_layers_of_step(500, num_keys=300)
        2
        """
        flop = num_tokens * (self.per_token + self.per_key * num_keys)
        return max(1, int(self.num_layers * self.max_flop / flop))
