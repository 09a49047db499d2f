"""LongVA: CLIP's vision tower, the projector, and Qwen2 over visual and text tokens (arXiv 2406.16852)."""

import warnings
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, Qwen2ForCausalLM, Qwen2Model
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import logging

from longva_demo.model.attention import NAME as CHUNKED_SDPA
from longva_demo.model.config import LongVAConfig
from longva_demo.model.projector import build_projector, pool
from longva_demo.model.vision import VisionTower

logger = logging.get_logger(__name__)
# The repetition penalty is meant to see new tokens only: see `generate`.
warnings.filterwarnings("ignore", message="Passing `repetition_penalty` with `inputs_embeds`")

# Placeholder for one visual token in `input_ids`. It is outside the vocabulary, so no text can produce it.
VISUAL_TOKEN = -200
IMAGE, VIDEO = 0, 1  # kinds of visual, as in `visual_slots`
LOSS_ARGUMENTS = ("num_items_in_batch", "shift_labels")  # passed through by Trainer
UNIRES_STRIDE = 2  # an image's grids are always average-pooled 2 x 2; the config's pooling is for video


class LongVAModel(Qwen2Model):
    """Qwen2's layers, plus the vision tower and the projector under their published names."""

    config_class = LongVAConfig

    def __init__(self, config: LongVAConfig) -> None:
        if config._attn_implementation in (None, "sdpa"):
            config._attn_implementation = CHUNKED_SDPA  # transformers' own sdpa is slow from the second chunk on
        super().__init__(config)
        self.vision_tower = VisionTower(config.vision_config, config.mm_vision_select_layer)
        self.mm_projector = build_projector(config.vision_config.hidden_size, config.hidden_size)
        self.post_init()

    @property
    def vision_dtype(self) -> torch.dtype:
        """The vision tower's own dtype: it keeps full precision in a model quantised to 4 bits."""
        return self.vision_tower.vision_tower.vision_model.dtype

    def encode_patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) normalised pixels to (n, patches, dim) tokens, before pooling."""
        return self.mm_projector(self.vision_tower(pixel_values.to(self.device, self.vision_dtype)))

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(frames, 3, S, S) normalised pixels to (frames, tokens_per_frame, dim)."""
        patches = self.encode_patches(pixel_values)
        return pool(patches, self.config.mm_spatial_pool_stride, self.config.mm_spatial_pool_mode)

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """UniRes: (1 + grids, 3, S, S), the whole image first, to (grids * tokens, dim), row by row.

        The whole image is not encoded: the original computes its features and discards them. An image of a single
        slot keeps all its patches, unpooled: (patches, dim).
        """
        if len(pixel_values) == 1:
            return self.encode_patches(pixel_values)[0]
        return pool(self.encode_patches(pixel_values[1:]), UNIRES_STRIDE).flatten(0, 1)


class LongVAForConditionalGeneration(Qwen2ForCausalLM):
    """The complete model. `forward` and `generate` accept what `LongVAProcessor` returns.

    Logits have one column per token of the tokenizer. The published vocabulary is padded with rows of random
    numbers that must never be predicted; the weights keep them, the logits do not.
    """

    config_class = LongVAConfig
    config: LongVAConfig
    input_modalities = ["image", "video", "text"]  # noqa: RUF012 (transformers declares it so)

    def __init__(self, config: LongVAConfig) -> None:
        super(Qwen2ForCausalLM, self).__init__(config)  # not Qwen2ForCausalLM's own, which builds a second Qwen2Model
        self.model = LongVAModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.num_tokens = config.vocab_size
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint in the original format, from a folder or the Hub; see `PreTrainedModel`."""
        hub_options = ("revision", "cache_dir", "token", "local_files_only", "subfolder")
        given = {name: kwargs[name] for name in hub_options if name in kwargs}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        try:
            tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **given)
        except (OSError, ValueError):  # no tokenizer beside the weights: every row counts as a token
            return loaded
        model.num_tokens = min(len(tokenizer), model.config.vocab_size)
        return loaded

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(frames, 3, S, S) normalised pixels to (frames, tokens_per_frame, dim)."""
        return self.model.encode_frames(pixel_values)

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(1 + grids, 3, S, S), the whole image first, to (grids * tokens_per_grid, dim)."""
        return self.model.encode_image(pixel_values)

    def encode_visuals(self, pixel_values: torch.Tensor, visual_slots: torch.Tensor) -> torch.Tensor:
        """All visuals of a prompt in order: (slots, 3, S, S) to (visual tokens, dim).

        Args:
            visual_slots: (visuals, 2): the kind (IMAGE or VIDEO) and the number of slots of each visual. A video of
                5 frames and an image of 1 + 8 grids are [[VIDEO, 5], [IMAGE, 9]].
        """
        kinds, counts = visual_slots.T.tolist()
        if sum(counts) != len(pixel_values):
            raise ValueError(f"visual_slots has {sum(counts)} slots, but pixel_values has {len(pixel_values)}")
        encoded = [
            self.encode_frames(pixels).flatten(0, 1) if kind == VIDEO else self.encode_image(pixels)
            for kind, pixels in zip(kinds, pixel_values.split(counts), strict=True)
        ]
        return torch.cat(encoded)

    def embed_prompt(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        visual_slots: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Input embeddings of the language model: embedded text tokens, with visual tokens at their placeholders.

        With visuals, masked positions are dropped, as in the original. The original also truncates the sequence at
        `tokenizer_model_max_length` (227 frames in LongVA-7B), which loses the question; here nothing is truncated.

        Args:
            input_ids: (batch, T), with VISUAL_TOKEN as the placeholder of each visual token.
        Returns:
            (batch, T', dim) and the attention mask (batch, T') or None.
        Raises:
            ValueError: several sequences with visuals, or visuals and placeholders do not match.
        """
        is_visual = input_ids == VISUAL_TOKEN
        num_placeholders = int(is_visual.sum())
        if pixel_values is None or visual_slots is None:
            if num_placeholders:
                missing = "pixel_values or visual_slots is missing"
                raise ValueError(f"input_ids has {num_placeholders} visual tokens, but {missing}")
            return self.model.embed_tokens(input_ids), attention_mask
        if len(input_ids) != 1:
            raise ValueError(f"a batch of {len(input_ids)} sequences with visuals; pass one sequence at a time")
        visuals = self.encode_visuals(pixel_values, visual_slots)
        if len(visuals) != num_placeholders:
            raise ValueError(f"input_ids has {num_placeholders} placeholders for {len(visuals)} visual tokens")
        embeds = self.model.embed_tokens(input_ids.masked_fill(is_visual, 0))
        embeds = embeds.masked_scatter(is_visual.unsqueeze(-1), visuals.to(embeds.dtype))  # (1, T, dim)
        if attention_mask is not None:
            embeds = embeds[:, attention_mask[0].bool()]  # (1, T', dim)
        return embeds, None if attention_mask is None else attention_mask.new_ones(embeds.shape[:2])

    def warn_if_past_context(self, num_tokens: int) -> None:
        """Warn if a prompt exceeds the context. It is not truncated, but the model was not trained for it."""
        limit = self.config.context_length
        if num_tokens > limit:
            message = f"the prompt has {num_tokens:,} tokens, more than the model's context of {limit:,}"
            logger.warning(f"{message}; answers will be worse, use fewer frames")

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        pixel_values: torch.Tensor | None = None,
        visual_slots: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (batch, positions, tokens): of all positions, of the last `logits_to_keep`, or of those it lists.

        With `labels`, also the loss, by transformers' own function; LOSS_ARGUMENTS are passed on to it.
        """
        loss_kwargs = {name: kwargs.pop(name) for name in LOSS_ARGUMENTS if name in kwargs}
        # A decoding step has no visuals; checking for them would wait for the GPU.
        if input_ids is not None and (pixel_values is not None or input_ids.shape[1] > 1):
            inputs_embeds, attention_mask = self.embed_prompt(input_ids, attention_mask, pixel_values, visual_slots)
            input_ids = None
        if inputs_embeds is not None and inputs_embeds.shape[1] > 1:
            num_cached = 0 if past_key_values is None else int(past_key_values.get_seq_length())
            self.warn_if_past_context(num_cached + inputs_embeds.shape[1])
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **{name: value for name, value in kwargs.items() if name != "return_dict"},
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])[..., : self.num_tokens]
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.num_tokens, **loss_kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @torch.no_grad()
    def generate(self, inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Continue a prompt: (1, T) `input_ids` to (1, T + new) tokens, as in transformers.

        Without a KV cache the prompt enters as embeddings, as in the original, so a repetition penalty sees the new
        tokens only. With a KV cache, transformers' own `generate` continues it.
        """
        input_ids = kwargs.pop("input_ids", inputs)
        pixel_values, visual_slots = kwargs.pop("pixel_values", None), kwargs.pop("visual_slots", None)
        if input_ids is None or kwargs.get("past_key_values") is not None:
            return super().generate(input_ids, **kwargs)  # type: ignore[misc]
        input_ids = input_ids.to(self.device)
        mask = kwargs.pop("attention_mask", None)
        mask = torch.ones_like(input_ids) if mask is None else mask.to(self.device)
        embeds, mask = self.embed_prompt(input_ids, mask, pixel_values, visual_slots)
        output: Any = super().generate(inputs_embeds=embeds, attention_mask=mask, **kwargs)  # type: ignore[misc]
        if isinstance(output, torch.Tensor):
            return torch.cat([input_ids.expand(len(output), -1), output], dim=1)
        output.sequences = torch.cat([input_ids.expand(len(output.sequences), -1), output.sequences], dim=1)
        return output
