"""How long LongVA takes on this processor with 8-bit weights: a probe of its speed, and a formula."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch.nn.functional import linear

from longva_demo.model.config import LongVAConfig
from longva_demo.model.int8 import Int8Linear

# Tokens of a question with its chat template, and of what comes before the frames.
QUESTION_TOKENS, HEADER_TOKENS = 24, 14
# The matrix products of a prefill reach this share of the probe's speed: converting weights, norms and activations
# take the rest.
PREFILL_EFFICIENCY = 0.9
MEMORY_BYTES_PER_SECOND = 10e9  # at which a new token's attention reads the KV cache
# Of GPUs: FLOP per second of dense bf16 products, from the makers' data sheets, and the share of it that a prefill is
# assumed to reach.
PEAK_FLOP = {"RTX 4090": 165e12, "A100": 312e12, "H100": 989e12}
GPU_EFFICIENCY = 0.4
PROBE_WIDTH, PROBE_ROWS, PROBE_TOKENS = 3584, 3584, 256
PROBE_LAYERS = 6  # 154 MB, which do not stay in the processor's cache from token to token
PROBE_RUNS = 3


@dataclass(frozen=True)
class ProcessorSpeed:
    """Measured on all threads: FLOP per second of float32 products and of products with 8-bit weights, and such weights
    per second.

    Weights are counted per token: for a single one, and for each of QUESTION_TOKENS.
    """

    flop: float
    layer_flop: float
    weights: float
    question_weights: float


@dataclass(frozen=True)
class ModelSize:
    """What a frame and a token cost in a model. LongVA-7B's values are in the comments."""

    frame_flop: float  # 0.39e12, of the vision tower and the projector
    frame_tokens: int  # 144
    layer_weights: float  # 6.53e9, in the language model's linear layers
    head_weights: float  # 0.54e9
    attention_flop: float  # 200,704, per token squared
    kv_bytes: int  # 114,688, per token in float32

    def num_tokens(self, num_frames: int) -> int:
        """Tokens of frames, and of what comes before them."""
        return HEADER_TOKENS + num_frames * self.frame_tokens

    def layer_flop(self, num_frames: int) -> float:
        """FLOP of the language model's linear layers for frames and header."""
        return 2 * self.layer_weights * self.num_tokens(num_frames)

    def other_flop(self, num_frames: int) -> float:
        """FLOP of encoding the frames, and of the language model's attention to them."""
        return num_frames * self.frame_flop + self.attention_flop * self.num_tokens(num_frames) ** 2

    def prefill_flop(self, num_frames: int) -> float:
        """FLOP of encoding the frames, and of running their tokens and the header's through the language model."""
        return self.layer_flop(num_frames) + self.other_flop(num_frames)

    @classmethod
    def of(cls, config: LongVAConfig) -> Self:
        vision, width = config.vision_config, config.hidden_size
        patches = config.patches_per_side**2
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
        attention = config.num_hidden_layers * heads * config.head_size
        projections = 2 * (heads + kv_heads) * config.head_size + 3 * config.intermediate_size
        vision_weights = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
        vision_layer = 2 * vision_weights * (patches + 1) + 4 * vision.hidden_size * (patches + 1) ** 2
        projector = 2 * patches * (vision.hidden_size * width + width**2)
        num_layers = vision.num_hidden_layers + 1 + config.mm_vision_select_layer
        return cls(
            frame_flop=float(num_layers * vision_layer + projector),
            frame_tokens=config.tokens_per_frame,
            layer_weights=float(config.num_hidden_layers * width * projections),
            head_weights=float(width * config.vocab_size),
            attention_flop=2.0 * attention,
            kv_bytes=config.kv_bytes_per_token(torch.float32),
        )


@dataclass(frozen=True)
class Estimate:
    """Times of a model on this processor, in seconds."""

    speed: ProcessorSpeed
    size: ModelSize

    def prefill(self, num_frames: int) -> float:
        """Encoding the frames, and running their tokens and the header's through the language model."""
        layers = self.size.layer_flop(num_frames) / self.speed.layer_flop
        return (layers + self.size.other_flop(num_frames) / self.speed.flop) / PREFILL_EFFICIENCY

    def token(self, num_frames: int) -> float:
        """One token of an answer."""
        reading = num_frames * self.size.frame_tokens * self.size.kv_bytes / MEMORY_BYTES_PER_SECOND
        return (self.size.layer_weights + self.size.head_weights) / self.speed.weights + reading

    def first_word(self, num_frames: int) -> float:
        """From the first question about a video to the first word of its answer."""
        return self.prefill(num_frames) + self.next_first_word(num_frames)

    def next_first_word(self, num_frames: int) -> float:
        """The same for a further question about it."""
        return QUESTION_TOKENS * self.size.layer_weights / self.speed.question_weights + self.token(num_frames)

    def frames_within(self, seconds: float) -> int:
        """The largest number of frames, at least 1, with the first word within `seconds`."""
        num_frames = 1
        while self.first_word(num_frames + 1) <= seconds:
            num_frames += 1
        return num_frames

    def sentence(self, num_frames: int) -> str:
        """For the user: "about 43 s to the first word about 8 frames, then 4.2 tokens per second"."""
        first, rate = self.first_word(num_frames), 1 / self.token(num_frames)
        return f"about {first:,.0f} s to the first word about {num_frames} frames, then {rate:.1f} tokens per second"


def estimate(config: LongVAConfig) -> Estimate:
    return Estimate(probe_speed(), ModelSize.of(config))


@cache
@torch.inference_mode()
def probe_speed() -> ProcessorSpeed:
    """Measure this processor, for about half a second. Later calls return the first result."""
    layers = [Int8Linear(PROBE_WIDTH, 2 * PROBE_ROWS, bias=False) for _ in range(PROBE_LAYERS)]
    for layer in layers:
        layer.weight.zero_()
        layer.scale.fill_(1.0)
    tokens, weight = torch.randn(PROBE_TOKENS, PROBE_WIDTH), torch.randn(PROBE_ROWS // 2, PROBE_WIDTH)
    one, question = tokens[:1], tokens[:QUESTION_TOKENS]
    num_weights = layers[0].weight.numel()
    return ProcessorSpeed(
        flop=2 * weight.numel() * PROBE_TOKENS / min_seconds(lambda: linear(tokens, weight)),
        layer_flop=2 * num_weights * PROBE_TOKENS / min_seconds(lambda: layers[0](tokens)),
        weights=PROBE_LAYERS * num_weights / min_seconds(lambda: [layer(one) for layer in layers]),
        question_weights=num_weights * QUESTION_TOKENS / min_seconds(lambda: layers[0](question)),
    )


def min_seconds(call: Callable[[], object]) -> float:
    """The time of the fastest of a few calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(PROBE_RUNS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
