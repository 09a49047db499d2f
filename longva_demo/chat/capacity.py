"""How many people a number of GPUs can serve: `longva-demo capacity`, and the table in docs/scale.md.

Calculated for LongVA-7B in bf16 on an H200; nothing is measured. A chat asks a few questions about one video. The first
one prefills it; the others find it in the prefix cache.
"""

import math
from dataclasses import dataclass

from longva_demo.errors import BudgetError
from longva_demo.model import LongVAConfig
from longva_demo.model.estimate import ModelSize

# An H200: the share of its bf16 FLOP per second that prefill reaches, bytes per second, and memory for KV caches beside
# weights and activations.
GPU_FLOP, GPU_BANDWIDTH, GPU_KV_BYTES = 0.6 * 989e12, 4.8e12, 108e9
WEIGHT_BYTES = KV_ELEMENT_BYTES = 2  # bf16
TEXT_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS = 60, 40, 100
BATCH = 8  # answers that share one pass over the weights
QUESTIONS_PER_VIDEO = 4
THINK_SECONDS = 60.0  # between an answer and the next question
PIXEL_BYTES_PER_FRAME = 3 * 336**2  # in a replica's cache of items


@dataclass(frozen=True)
class VideoCost:
    """What a video of `num_frames` frames costs one GPU.

    >>> cost = VideoCost(1000)
    >>> round(cost.prefill_seconds, 1), round(cost.kv_bytes / 1e9, 2), round(cost.follow_up_seconds, 2)
    (10.9, 8.26, 0.22)
    """

    num_frames: int

    def check(self) -> None:
        """Raises BudgetError: the frames do not fit into the context."""
        context = LongVAConfig().context_length
        if self.num_tokens > context:
            largest = (context - TEXT_TOKENS) // SIZE.frame_tokens
            what = f"{self.num_frames:,} frames are {self.num_tokens:,} tokens, but the context has {context:,}"
            raise BudgetError(what, f"use {largest:,} frames or fewer", largest)

    @property
    def num_tokens(self) -> int:
        return self.num_frames * SIZE.frame_tokens + TEXT_TOKENS

    @property
    def prefill_seconds(self) -> float:
        """From the first question to the first word, on an idle GPU."""
        language = 2 * SIZE.layer_weights * self.num_tokens + SIZE.attention_flop * self.num_tokens**2
        return (language + SIZE.frame_flop * self.num_frames) / GPU_FLOP

    @property
    def kv_bytes(self) -> int:
        return self.num_tokens * SIZE.kv_bytes * KV_ELEMENT_BYTES // 4  # `SIZE` is for float32

    @property
    def follow_up_seconds(self) -> float:
        """A further question, with its answer: prefill of the question, then token by token."""
        question = QUESTION_TOKENS * self._flop_per_token / GPU_FLOP
        weights = WEIGHT_BYTES * (SIZE.layer_weights + 2 * SIZE.head_weights)
        return question + ANSWER_TOKENS * (weights / BATCH + self.kv_bytes) / GPU_BANDWIDTH

    @property
    def seconds_per_question(self) -> float:
        """GPU time of a question, with its share of the prefill."""
        return self.prefill_seconds / QUESTIONS_PER_VIDEO + self.follow_up_seconds

    @property
    def num_cached(self) -> int:
        """Videos whose KV cache fits into the memory of one GPU."""
        return int(GPU_KV_BYTES / self.kv_bytes)

    def chunk_seconds(self, chunk_tokens: int) -> float:
        """How long everybody else's next token waits for one chunk at the end of this video's prefill."""
        return chunk_tokens * self._flop_per_token / GPU_FLOP

    @property
    def _flop_per_token(self) -> float:
        """Of a token after the video."""
        return 2 * SIZE.layer_weights + 2 * SIZE.attention_flop * self.num_tokens


SIZE = ModelSize.of(LongVAConfig())


@dataclass(frozen=True)
class Capacity:
    """`num_users` people, each with a video of `num_frames` frames, on `num_gpus` GPUs."""

    num_frames: int
    num_gpus: int
    num_users: int

    @property
    def cost(self) -> VideoCost:
        return VideoCost(self.num_frames)

    @property
    def questions_per_second(self) -> float:
        """That the GPUs can answer."""
        return self.num_gpus / self.cost.seconds_per_question

    @property
    def max_users(self) -> int:
        """People who ask every THINK_SECONDS that the GPUs can serve."""
        return int(self.questions_per_second * THINK_SECONDS)

    @property
    def needed_gpus(self) -> int:
        return max(1, math.ceil(self.num_users * self.cost.seconds_per_question / THINK_SECONDS))

    @property
    def offload_bytes(self) -> float:
        """Host memory of each replica for KV caches that do not fit into its GPU, so that all videos stay cached."""
        return max(0.0, self.num_users / self.num_gpus * self.cost.kv_bytes - GPU_KV_BYTES)

    @property
    def pixel_bytes(self) -> float:
        """Host memory of each replica for the pixels of its videos."""
        return self.num_users / self.num_gpus * self.num_frames * PIXEL_BYTES_PER_FRAME

    def facts(self) -> dict[str, float | int | bool]:
        cost = self.cost
        return {
            "frames": self.num_frames,
            "gpus": self.num_gpus,
            "users": self.num_users,
            "seconds_to_first_word": round(cost.prefill_seconds, 2),
            "seconds_of_a_follow_up": round(cost.follow_up_seconds, 2),
            "questions_per_second": round(self.questions_per_second, 2),
            "max_users": self.max_users,
            "is_enough": self.num_users <= self.max_users,
            "needed_gpus": self.needed_gpus,
            "kv_bytes_per_video": cost.kv_bytes,
            "videos_cached_per_gpu": cost.num_cached,
            "kv_offloading_gb": math.ceil(self.offload_bytes / 1e9),
            "mm_processor_cache_gb": max(4, math.ceil(self.pixel_bytes / 1e9)),
        }

    def report(self) -> str:
        facts, cost = self.facts(), self.cost
        kv_gb = cost.kv_bytes / 1e9
        needed = f"; {self.needed_gpus} GPUs are needed" if self.num_users > self.max_users else ""
        rows = {
            "Video": f"{self.num_frames:,} frames, {cost.num_tokens:,} tokens, {kv_gb:.2f} GB of KV cache",
            "First word": f"{cost.prefill_seconds:.1f} s after the first question about a video",
            "Follow-up": f"{cost.follow_up_seconds:.2f} s for an answer of {ANSWER_TOKENS} tokens",
            "Questions": f"{self.questions_per_second:.2f} per second on {self.num_gpus} GPUs",
            "People": f"{self.max_users:,} who ask once in {THINK_SECONDS:.0f} s, of {self.num_users:,}{needed}",
            "KV cache": f"{cost.num_cached} videos per GPU; for all, --kv-offloading-size {facts['kv_offloading_gb']}",
            "Pixels": f"--mm-processor-cache-gb {facts['mm_processor_cache_gb']} on each replica",
            "Chunks": f"others wait {cost.chunk_seconds(2304):.2f} s for a chunk of 2,304 tokens, "
            f"{cost.chunk_seconds(8192):.2f} s for 8,192 (--max-num-batched-tokens)",
        }
        note = "Calculated for LongVA-7B in bf16 on an H200, not measured; docs/scale.md has the formula."
        return "\n".join([*(f"{name:<12}{text}" for name, text in rows.items()), note])
