"""`generate` for prompts with visuals, in transformers' own terms: visuals are encoded once, before the first step."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationMixin
from transformers.generation import CandidateGenerator, LogitsProcessorList, RepetitionPenaltyLogitsProcessor


class TextCandidates(CandidateGenerator):
    """Candidates of assisted decoding, up to the first placeholder that was copied from the prompt."""

    def __init__(self, candidates: CandidateGenerator, is_placeholder: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.candidates, self.is_placeholder = candidates, is_placeholder

    def get_candidates(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        ids, logits = self.candidates.get_candidates(input_ids, *args, **kwargs)
        known = input_ids.shape[1]
        found = self.is_placeholder(ids)[0, known:].nonzero()
        count = int(found[0]) if len(found) else ids.shape[1] - known
        return ids[:, : known + count], None if logits is None else logits[:, :count]

    def update_candidate_strategy(self, *args: Any, **kwargs: Any) -> None:
        self.candidates.update_candidate_strategy(*args, **kwargs)


class VisualGeneration(GenerationMixin):
    """What LongVA adds to transformers' generation."""

    model: Any
    config: Any

    @torch.no_grad()
    def generate(self, inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Continue prompts: (batch, T) `input_ids`, padded on the left, to (batch, T + new) tokens.

        Placeholders of the original are returned as the config's.

        As in transformers, but a repetition penalty sees the new tokens only, as in the original. Nothing is truncated:
        the original cuts a prompt at `tokenizer_model_max_length` (227 frames in LongVA-7B), which loses the question.

        Raises:
            ValueError: the prompt is longer than the model's context.
        """
        input_ids, embeds = kwargs.pop("input_ids", inputs), kwargs.get("inputs_embeds")
        prompt, limit = input_ids if input_ids is not None else embeds, self.config.context_length
        if prompt is not None and prompt.shape[1] > limit:
            count = f"{prompt.shape[1]:,} tokens, more than the model's context of {limit:,}"
            raise ValueError(f"the prompt has {count}; use fewer frames or a shorter text")
        if input_ids is not None:
            input_ids = self.model.with_image_token(input_ids)
        return super().generate(input_ids, **kwargs)  # type: ignore[misc]

    def _get_logits_processor(self, generation_config: Any, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        processors = super()._get_logits_processor(generation_config, *args, **kwargs)  # type: ignore[misc]
        num_prompt_tokens = args[0] if args else kwargs.get("input_ids_seq_length")
        for processor in processors:
            if isinstance(processor, RepetitionPenaltyLogitsProcessor):
                processor.prompt_ignore_length = num_prompt_tokens
        return processors

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Any, inputs_embeds: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As in transformers, but the assistant in assisted decoding sees the visuals too."""
        inputs = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)  # type: ignore[misc]
        encoded, cache = kwargs.get("mm_encoder_outputs"), kwargs.get("past_key_values")
        if not encoded or input_ids.shape[1] == 1:
            return inputs
        if cache is None or not cache.get_seq_length():
            inputs["mm_encoder_outputs"] = encoded
        elif (ids := inputs.get("input_ids")) is not None and not self.model.is_placeholder(ids).any():
            inputs.pop("mm_encoder_outputs", None)  # they are in the cache already
        return inputs

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> CandidateGenerator:
        return TextCandidates(super()._get_candidate_generator(*args, **kwargs), self.model.is_placeholder)  # type: ignore[misc]

    def _expand_multimodal_outputs(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """transformers counts each sequence's placeholders, but only those of the config's token."""
        if input_ids is not None and input_ids.numel():
            is_visual = self.model.is_placeholder(input_ids)
            input_ids = torch.where(is_visual, self.model.image_token_id, -1)
        return super()._expand_multimodal_outputs(input_ids, *args, **kwargs)  # type: ignore[misc]
