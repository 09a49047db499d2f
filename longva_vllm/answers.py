"""A logits processor: the original's repetition penalty, and answers that are given.

Asked for in SamplingParams.extra_args (`extra_args` in /inference/v1/generate, `vllm_xargs` in /v1):

- `answer_penalty`: a repetition penalty that counts the answer's own tokens. vLLM's also counts the prompt.
- `answer_so_far`: how many tokens at the end of the prompt belong to the answer, where a client continues one.
- `forced_ids`: token ids that are chosen in turn, before all others, whatever the model prefers. vLLM reports the
  log-probabilities from before this, so it scores an answer; unlike `prompt_logprobs`, that uses the prefix cache.

One class serves both of vLLM's model runners: V1 on CPUs, and V2, the default on GPUs. The loader refuses, at the
start, a processor that is not of the runner's own kind.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as V2
except ImportError:  # an older vLLM
    V2 = object


@dataclass(frozen=True)
class Asked:
    """What one request asks for."""

    penalty: float = 1.0
    so_far: int = 0
    forced: tuple[int, ...] = ()

    @classmethod
    def of(cls, params: SamplingParams) -> Self:
        """Raises VLLMValidationError, which becomes HTTP 400, if a value is not usable."""
        extra = params.extra_args or {}
        penalty, so_far = extra.get("answer_penalty", 1.0), extra.get("answer_so_far", 0)
        forced = extra.get("forced_ids") or []
        if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not penalty > 0:
            raise VLLMValidationError(f"answer_penalty is {penalty!r}; use a number above 0")
        if type(so_far) is not int or so_far < 0:
            raise VLLMValidationError(f"answer_so_far is {so_far!r}; use a number of tokens")
        if not isinstance(forced, list) or not all(type(token) is int and token >= 0 for token in forced):
            raise VLLMValidationError(f"forced_ids is {forced!r}; use a list of token ids")
        return cls(float(penalty), so_far, tuple(forced))

    @property
    def is_needed(self) -> bool:
        return self.penalty != 1.0 or bool(self.forced)

    def change(self, logits: torch.Tensor, num_new: int, answer_ids: torch.Tensor) -> None:
        """Change one row of logits, (vocabulary,), in place.

        Args:
            num_new: tokens chosen so far.
            answer_ids: those, and the `so_far` ones before them.
        """
        if num_new < len(self.forced):
            force(logits, self.forced[num_new])
        elif len(answer_ids):
            penalise(logits, answer_ids.unique().long(), self.penalty)


def force(logits: torch.Tensor, token: int) -> None:
    """Leave `token` as the only choice."""
    kept = logits[token].clone()
    logits.fill_(float("-inf"))
    logits[token] = kept


def penalise(logits: torch.Tensor, ids: torch.Tensor, penalty: float) -> None:
    seen = logits[ids]
    logits[ids] = torch.where(seen < 0, seen * penalty, seen / penalty)


class AnswerLogits(AdapterLogitsProcessor, V2):  # type: ignore[misc]
    """V1 calls `new_req_logits_processor`, V2 calls `add_request` and `apply`."""

    def __init__(self, vllm_config: Any, second: Any, third: Any = None) -> None:
        """V1 passes a device and whether memory is pinned; V2 the state of its requests."""
        is_v1 = third is not None or isinstance(second, torch.device | str)
        self._states = None if is_v1 else second
        self._asked: dict[int, Asked] = {}  # by V2's slot
        if is_v1:
            AdapterLogitsProcessor.__init__(self, vllm_config, second, third)

    @classmethod
    def validate_params(cls, params: SamplingParams) -> None:
        Asked.of(params)

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        asked = Asked.of(params)
        if not asked.is_needed:
            return None

        def change(prompt_ids: list[int], output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
            before = prompt_ids[len(prompt_ids) - asked.so_far :] if asked.so_far else []
            asked.change(logits, len(output_ids), torch.tensor([*before, *output_ids], device=logits.device))
            return logits

        return change

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        asked = Asked.of(sampling_params)
        self._asked.pop(req_idx, None)
        if asked.is_needed:
            self._asked[req_idx] = asked
        return asked.is_needed

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        if self._states is None:
            return AdapterLogitsProcessor.apply(self, logits)
        if not self._asked:
            return logits
        slots = ctx.expanded_idx_mapping.tolist()
        for at, slot in enumerate(ctx.idx_mapping_np.tolist()):
            asked = self._asked.get(slot)
            if asked is None:
                continue
            length, last = int(self._states.prompt_len.np[slot]), int(ctx.seq_lens_upper_bound_np[at])
            ids = self._states.all_token_ids.gpu[slot, length - asked.so_far : last]
            for row, owner in enumerate(slots):
                if owner == slot:
                    asked.change(logits[row], last - length, ids)
        return logits
