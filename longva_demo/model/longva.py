"""LongVA: CLIP's vision tower, the projector, and Qwen2 over visual and text tokens (arXiv 2406.16852)."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM, Qwen2Model
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.utils import can_return_tuple
from transformers.utils.import_utils import is_tracing

from longva_demo.model.attention import NAME as CHUNKED_SDPA
from longva_demo.model.checkpoint_files import INDEX, SINGLE, num_stored
from longva_demo.model.config import LongVAConfig
from longva_demo.model.generation import VisualGeneration
from longva_demo.model.projector import build_projector, pool
from longva_demo.model.tokenizer import image_token_id, load_tokenizer
from longva_demo.model.vision import VisionTower

# The original's placeholder for one visual token in `input_ids`, accepted beside `config.image_token_id`. It is outside
# the vocabulary, so no text can produce it.
VISUAL_TOKEN = -200
IMAGE, VIDEO = 0, 1  # kinds of visual, as in `visual_slots`
IGNORED = -100  # label of a token that is excluded from the loss
MAX_MISSING_PARAMETERS = 10**8  # 0.4 GB in float32
UNIRES_STRIDE = 2  # an image's grids are always average-pooled 2 x 2; the config's pooling is for video


class TokenEmbedding(nn.Embedding):
    """Embeds text. The original's placeholder gets the last row, which the model replaces."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.masked_fill(input == VISUAL_TOKEN, self.num_embeddings - 1))


def positions_of(attention_mask: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """Position ids (batch, num_tokens) of the last tokens: masked tokens take no position, as in the original.

    >>> positions_of(torch.tensor([[0, 1, 1, 0, 1]]), 5)
    tensor([[0, 0, 1, 1, 2]])
    """
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -num_tokens:]


def check_num_parameters(config: LongVAConfig, folder: Path) -> None:
    """Check that weights exist for a model, roughly: transformers would allocate all that is missing.

    Raises:
        ValueError: most of them do not exist.
    """
    stored = num_stored(folder)
    if config.num_parameters > 2 * stored + MAX_MISSING_PARAMETERS:
        sizes = f"{config.num_parameters:,} parameters, but its weights have {stored:,}"
        raise ValueError(f"config.json in {folder} describes a model of {sizes}")


def wholes_last(visual_slots: torch.Tensor, num_slots: int) -> torch.Tensor:
    """An order of the slots (num_slots,) with images' first slots, which have no placeholders, after all others.

    For export and compilation: its shape does not depend on the kinds and counts.

    >>> wholes_last(torch.tensor([[VIDEO, 2], [IMAGE, 3]]), 5)
    tensor([0, 1, 3, 4, 2])
    """
    kinds, counts = visual_slots.unbind(1)
    firsts = counts.cumsum(0) - counts
    is_first = torch.arange(num_slots, device=visual_slots.device)[:, None] == firsts
    return (is_first & (kinds == IMAGE)).any(1).long().argsort(stable=True)


class CheckedLoading:
    """`from_pretrained` of a folder that a stranger may have made."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, from safetensors files only; the other format is a pickle.

        Raises:
            ValueError: config.json asks for far more parameters than a folder's weights have, or the folder has a LoRA
                adapter, which transformers would load by its own rules, with a model of the adapter's choice.
        """
        kwargs.setdefault("use_safetensors", True)
        folder = Path(pretrained_model_name_or_path or "") / (kwargs.get("subfolder") or "")
        if (folder / "adapter_config.json").exists():
            raise ValueError(f"{folder} has a LoRA adapter; load it with longva_demo.model.load or with peft")
        if (folder / "config.json").exists() and any((folder / name).exists() for name in (SINGLE, INDEX)):
            check_num_parameters(kwargs.get("config") or LongVAConfig.from_pretrained(folder), folder)
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)  # type: ignore[misc]


class LongVAModel(CheckedLoading, Qwen2Model):
    """Qwen2's layers, plus the vision tower and the projector under their published names."""

    config_class = LongVAConfig
    config: LongVAConfig
    input_modalities = ["image", "video", "text"]  # noqa: RUF012 (transformers declares it so)
    _no_split_modules = ["Qwen2DecoderLayer", "VisionTower"]  # noqa: RUF012

    def __init__(self, config: LongVAConfig) -> None:
        if config._attn_implementation in (None, "sdpa"):
            config._attn_implementation = CHUNKED_SDPA  # transformers' own sdpa is slow from the second chunk on
        super().__init__(config)
        self.embed_tokens.__class__ = TokenEmbedding  # a second table would take 2 GB for a moment
        self.vision_tower = VisionTower(config.vision_config, config.mm_vision_select_layer)
        self.mm_projector = build_projector(config.vision_config.hidden_size, config.hidden_size)
        self.is_image_token_reserved = False  # whether no text has the config's image_token_id
        self.post_init()

    def encode_patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) normalised pixels to (n, patches, dim) tokens, before pooling."""
        # The tower keeps full precision in a model quantised to 4 bits.
        dtype = self.vision_tower.vision_tower.vision_model.dtype
        return self.mm_projector(self.vision_tower(pixel_values.to(dtype)))

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

    def get_image_features(
        self, pixel_values: torch.Tensor, visual_slots: torch.Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        """Features of all visuals of a batch, in the order of their placeholders.

        Args:
            pixel_values: (slots, 3, S, S), normalised.
            visual_slots: (visuals, 2): the kind (IMAGE or VIDEO) and the number of slots of each visual. A video of
                5 frames and an image of 1 + 8 grids are [[VIDEO, 5], [IMAGE, 9]]. Without it, one video.
        Returns:
            `pooler_output`: one tensor (tokens, dim) per visual.
        Raises:
            ValueError: the slots do not add up.
        """
        pooling = (self.config.mm_spatial_pool_stride, self.config.mm_spatial_pool_mode)
        # Exported and compiled code cannot depend on the kinds and counts: it encodes all slots, pooled as frames are.
        if visual_slots is None or (is_tracing(pixel_values) and pooling == (UNIRES_STRIDE, "average")):
            frames = self.encode_frames(pixel_values)
            if visual_slots is not None:
                frames = frames[wholes_last(visual_slots, len(pixel_values))]
            return BaseModelOutputWithPooling(pooler_output=[frames.flatten(0, 1)])  # type: ignore[arg-type]
        kinds, counts = visual_slots.T.tolist()
        if sum(counts) != len(pixel_values):
            raise ValueError(f"visual_slots has {sum(counts)} slots, but pixel_values has {len(pixel_values)}")
        features = [
            self.encode_frames(pixels).flatten(0, 1) if kind == VIDEO else self.encode_image(pixels)
            for kind, pixels in zip(kinds, pixel_values.split(counts), strict=True)
        ]
        return BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]

    def is_placeholder(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Where `input_ids` have placeholders: VISUAL_TOKEN where it is used, else the config's token."""
        is_original = input_ids == VISUAL_TOKEN
        return is_original | ((input_ids == self.image_token_id) & ~is_original.any())

    def with_image_token(self, input_ids: torch.Tensor) -> torch.Tensor:
        """`input_ids` with the config's placeholder in place of the original's, unless a text has it too."""
        is_original = input_ids == VISUAL_TOKEN
        if not is_original.any() or (input_ids == self.image_token_id).any():
            return input_ids
        return input_ids.masked_fill(is_original, self.image_token_id)

    @property
    def image_token_id(self) -> int:
        """The placeholder of one visual token."""
        assert self.config.image_token_id is not None
        return self.config.image_token_id

    def embed_prompt(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        visual_slots: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Input embeddings (batch, T, dim) of the language model, with visual tokens at their placeholders.

        Args:
            input_ids: (batch, T). The visuals of all sequences follow each other in `pixel_values`.
            inputs_embeds: instead of `input_ids`; their placeholders are recognised by their embedding.
            mm_encoder_outputs: instead of `pixel_values`: `{"image": get_image_features(...)}`.
        Raises:
            ValueError: visuals and placeholders do not match.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass either input_ids or inputs_embeds")
        encoded = (mm_encoder_outputs or {}).get("image")
        if pixel_values is not None:
            encoded = self.get_image_features(pixel_values, visual_slots)
        if encoded is None:
            if input_ids is None:
                assert inputs_embeds is not None
                return inputs_embeds
            # A decoding step has no visuals; checking for them would wait for the GPU.
            if input_ids.shape[1] > 1 and not is_tracing(input_ids):
                self.check_no_placeholder(input_ids)
            return self.embed_tokens(input_ids)
        if input_ids is not None:
            is_visual = self.is_placeholder(input_ids)
            embeds = self.embed_tokens(input_ids.masked_fill(is_visual, 0))
        else:
            assert inputs_embeds is not None
            last = self.embed_tokens.num_embeddings - 1
            tokens = torch.tensor([VISUAL_TOKEN, min(self.image_token_id, last)], device=inputs_embeds.device)
            rows = self.embed_tokens(tokens)[:, None, None]  # (2, 1, 1, dim)
            is_visual, embeds = (inputs_embeds == rows).all(-1).any(0), inputs_embeds
        features = torch.cat(encoded.pooler_output).to(embeds.device, embeds.dtype)
        if not is_tracing(features) and (num_placeholders := int(is_visual.sum())) != len(features):
            raise ValueError(f"input_ids has {num_placeholders} placeholders for {len(features)} visual tokens")
        return embeds.masked_scatter(is_visual.unsqueeze(-1).to(embeds.device), features)

    def check_no_placeholder(self, input_ids: torch.Tensor) -> None:
        """Raise ValueError if a prompt without visuals has placeholders: it would be answered without its video."""
        is_visual = input_ids == VISUAL_TOKEN
        if self.is_image_token_reserved:
            is_visual |= input_ids == self.image_token_id
        if num_placeholders := int(is_visual.sum()):
            raise ValueError(f"input_ids has {num_placeholders} visual tokens, but pixel_values is missing")

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: torch.Tensor | None = None,
        visual_slots: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states (batch, T, dim). See `embed_prompt` and `get_image_features` for the visuals."""
        embeds = self.embed_prompt(input_ids, inputs_embeds, pixel_values, visual_slots, mm_encoder_outputs)
        if position_ids is None and isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
            position_ids = positions_of(attention_mask, embeds.shape[1])
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=embeds,
            use_cache=use_cache,
            **kwargs,
        )


class LongVAForConditionalGeneration(VisualGeneration, CheckedLoading, Qwen2ForCausalLM):
    """The complete model. `forward` and `generate` accept what `LongVAProcessor` returns, in batches too.

    Logits have one column per token of the tokenizer. The published vocabulary is padded with rows of random
    numbers that must never be predicted; the weights keep them, the logits do not.
    """

    config_class = LongVAConfig
    config: LongVAConfig
    input_modalities = LongVAModel.input_modalities
    _no_split_modules = LongVAModel._no_split_modules

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
            tokenizer = load_tokenizer(pretrained_model_name_or_path, **given)
        except (OSError, ValueError):  # no tokenizer beside the weights: every row counts as a token
            return loaded
        model.use_tokenizer(tokenizer)
        return loaded

    def use_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the number of logits and the placeholder of a visual token from a tokenizer.

        Raises:
            ValueError: it has ids without a row in the embedding table.
        """
        if (highest := max(tokenizer.get_vocab().values(), default=0)) >= self.config.vocab_size:
            rows = f"config.json has vocab_size = {self.config.vocab_size:,}"
            raise ValueError(f"the tokenizer has tokens up to {highest:,}, but {rows}")
        token = image_token_id(tokenizer)
        # The placeholder is not a token that the model may write.
        self.num_tokens = min(token if token + 1 >= len(tokenizer) else len(tokenizer), self.config.vocab_size)
        self.config.image_token_id = token
        self.model.is_image_token_reserved = True

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(frames, 3, S, S) normalised pixels to (frames, tokens_per_frame, dim)."""
        return self.model.encode_frames(pixel_values)

    def encode_image(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(1 + grids, 3, S, S), the whole image first, to (grids * tokens_per_grid, dim)."""
        return self.model.encode_image(pixel_values)

    def get_image_features(
        self, pixel_values: torch.Tensor, visual_slots: torch.Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        """See `LongVAModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, visual_slots)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As in transformers: for the tokens of a tokenizer, the placeholder of a visual token after them."""
        embeddings = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        if new_num_tokens is not None:
            self.num_tokens = self.config.vocab_size
            if self.model.is_image_token_reserved:
                self.config.image_token_id = new_num_tokens
        return embeddings

    @can_return_tuple
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
        mm_encoder_outputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (batch, positions, tokens): of all positions, of the last `logits_to_keep`, or of those it lists.

        With `labels` (batch, T), also the loss, by transformers' own function. Placeholders are excluded from it.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            pixel_values=pixel_values,
            visual_slots=visual_slots,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])[..., : self.num_tokens]
        loss = None
        if labels is not None:
            labels = labels.masked_fill((labels < 0) | (labels >= self.num_tokens), IGNORED)
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.num_tokens, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
