"""LongVA: CLIP's hidden_states[-2], the projector, THEN pooling, Qwen2. 144 tokens a frame and nothing between them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from vllm.config import VllmConfig
from vllm.model_executor.models.clip import CLIPVisionModel
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors
from vllm.tokenizers import cached_tokenizer_from_config

from longva_vllm.config import LongVAConfig
from longva_vllm.pixels import grey_levels
from longva_vllm.processing import PLACE, LongVADummyInputs, LongVAInfo, LongVAInputs

# Frames, or grids, that pass the vision tower at once.
FRAMES_AT_ONCE = 28


def pool(tokens: torch.Tensor, stride: int, mode: str) -> torch.Tensor:
    """(n, side * side, dim) to (n, (side // stride) ** 2, dim)."""
    count, patches, dim = tokens.shape
    side = int(patches**0.5)
    square = tokens.reshape(count, side, side, dim).permute(0, 3, 1, 2)  # (n, dim, side, side)
    pooling = functional.max_pool2d if mode == "max" else functional.avg_pool2d
    return pooling(square, stride).flatten(2).transpose(1, 2)


@MULTIMODAL_REGISTRY.register_processor(LongVAInputs, info=LongVAInfo, dummy_inputs=LongVADummyInputs)
class LongVAForCausalLM(nn.Module, SupportsMultiModal, SupportsPP):
    """Loads the tensors of a published checkpoint under their own names."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.vision_tower.vision_tower.": "vision_tower.",
            "model.mm_projector.": "mm_projector.",
            "model.image_newline": None,
            "model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )
    packed_modules_mapping = {  # noqa: RUF012 (vLLM declares it so)
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    vision_tower: Any
    language_model: Any

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:  # noqa: ARG003
        return PLACE

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: LongVAConfig = vllm_config.model_config.hf_config
        self.config = config
        vision = config.vision_config
        num_layers = vision.num_hidden_layers + 1 + config.mm_vision_select_layer
        with self._mark_tower_model(vllm_config, {"image", "video"}):  # type: ignore[operator]
            self.vision_tower = CLIPVisionModel(
                vision,
                num_hidden_layers_override=num_layers,
                require_post_norm=False,
                prefix=maybe_prefix(prefix, "vision_tower"),
            )
            self.mm_projector = nn.Sequential(
                nn.Linear(vision.hidden_size, config.hidden_size),
                nn.GELU(),
                nn.Linear(config.hidden_size, config.hidden_size),
            )
        with self._mark_language_model(vllm_config):  # type: ignore[operator]
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config,
                architectures=["Qwen2ForCausalLM"],
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors
        # The rows that pad the published vocabulary hold random numbers and must not win.
        self.num_tokens = min(len(cached_tokenizer_from_config(vllm_config.model_config)), config.vocab_size)
        self._levels = torch.from_numpy(grey_levels(config.pixel_mean, config.pixel_std))  # (3, 256)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (n, S, S, 3) to (n, 3, S, S)."""
        self._levels = self._levels.to(pixels.device)
        indices = pixels.permute(0, 3, 1, 2).long()  # (n, 3, S, S)
        channels = [self._levels[channel][indices[:, channel]] for channel in range(3)]
        return torch.stack(channels, dim=1).to(self.vision_tower.dtype)

    def encode(self, pixels: torch.Tensor, stride: int, mode: str) -> torch.Tensor:
        """uint8 (n, S, S, 3) to (n, tokens, dim)."""
        parts = []
        for some in pixels.split(FRAMES_AT_ONCE):
            patches = self.vision_tower(self.normalise(some))[:, 1:]  # without the class token
            parts.append(pool(self.mm_projector(patches), stride, mode))
        return torch.cat(parts)

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """The tokens of each item, (tokens, dim)."""
        config = self.config
        pooling = {"image": (2, "average"), "video": (config.pooling_stride, config.pooling_mode)}
        embeddings: list[torch.Tensor] = []
        for modality, (stride, mode) in pooling.items():
            ready = kwargs.get(f"{modality}_embeds")
            if ready is not None:
                embeddings.extend(one.flatten(0, -2) for one in ready)
            pixels = kwargs.get(f"{modality}_pixels")
            if pixels is None:
                continue
            if isinstance(pixels, list):
                pixels = torch.cat(pixels)
            counts = torch.as_tensor(kwargs[f"{modality}_slots"]).flatten().tolist()
            tokens = self.encode(pixels, stride, mode)
            embeddings.extend(part.flatten(0, 1) for part in tokens.split(counts))
        return embeddings

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **_: object,
    ) -> torch.Tensor | IntermediateTensors:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        logits = self.language_model.compute_logits(hidden_states)
        if logits is not None:
            logits[..., self.num_tokens :] = float("-inf")
        return logits

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="mm_projector", tower_model="vision_tower"
        )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
