"""Pictures and frames as vLLM's multi-modal inputs: uint8 squares, which are normalised beside the vision tower."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from transformers import BatchFeature
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import ImageEmbeddingItems, MultiModalDataItems, VideoEmbeddingItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from longva_vllm.config import LongVAConfig
from longva_vllm.pixels import split_picture, square_frame

# Stands for one picture, or one run of frames, in a prompt. It is the padding token, which questions never contain.
PLACE = "<|endoftext|>"
# Frames of one `video` item, unless --limit-mm-per-prompt '{"video": {"num_frames": …}}' sets another limit: as many
# tokens as the largest picture has. A longer video is several items.
FRAMES_PER_ITEM = 49


class LongVAInfo(BaseProcessingInfo):
    def get_hf_config(self) -> LongVAConfig:
        return self.ctx.get_hf_config(LongVAConfig)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": None}

    @property
    def max_grids(self) -> int:
        config = self.get_hf_config()
        return max(width * height for width, height in config.pinpoints) // config.side**2

    @property
    def max_frames(self) -> int:
        options = self.ctx.get_mm_config().limit_per_prompt.get("video")
        return (getattr(options, "num_frames", None) if options else None) or FRAMES_PER_ITEM

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:  # noqa: ARG002
        config = self.get_hf_config()
        return {"image": self.max_grids * config.tokens_per_grid, "video": self.max_frames * config.tokens_per_frame}

    @property
    def place_id(self) -> int:
        return self.get_tokenizer().convert_tokens_to_ids(PLACE)


class LongVADummyInputs(BaseDummyInputsBuilder[LongVAInfo]):
    """The largest inputs, with which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return PLACE * sum(mm_counts.values())

    def get_dummy_mm_data(
        self,
        seq_len: int,  # noqa: ARG002
        mm_counts: Mapping[str, int],
        mm_options: MultiModalDummyOptions,  # noqa: ARG002
    ) -> MultiModalDataDict:
        config = self.info.get_hf_config()
        side = config.side
        width, height = max(config.pinpoints, key=lambda point: point[0] * point[1])
        videos = mm_counts.get("video", 0)
        return {
            "image": self._get_dummy_images(width=width, height=height, num_images=mm_counts.get("image", 0)),
            "video": self._get_dummy_videos(
                width=side, height=side, num_frames=self.info.max_frames, num_videos=videos
            ),
        }


class LongVAInputs(BaseMultiModalProcessor[LongVAInfo]):
    """No processor of transformers is needed."""

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:  # noqa: ARG002
        config = self.info.get_hf_config()
        side, pinpoints = config.side, config.pinpoints
        data: dict[str, object] = {}
        for modality, items in mm_items.items():
            if not items:
                continue
            if isinstance(items, ImageEmbeddingItems | VideoEmbeddingItems):
                data.update(items.get_passthrough_data())
                continue
            [raw] = items.get_processor_data().values()
            if modality == "image":
                stacks = [split_picture(image, side, pinpoints) for image in raw]
            else:
                stacks = [
                    np.stack([square_frame(np.asarray(frame), side, config.reducing_gap) for frame in video])
                    for video in raw
                ]
            data[f"{modality}_pixels"] = torch.from_numpy(np.concatenate(stacks))
            data[f"{modality}_slots"] = torch.tensor([len(stack) for stack in stacks])
        return BatchFeature(data)

    def _get_mm_fields_config(
        self,
        hf_inputs: BatchFeature,
        hf_processor_mm_kwargs: Mapping[str, object],  # noqa: ARG002
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields = {}
        for modality in ("image", "video"):
            sizes = hf_inputs.get(f"{modality}_slots", torch.empty(0, dtype=torch.long))
            fields[f"{modality}_pixels"] = MultiModalFieldConfig.flat_from_sizes(modality, sizes)
            fields[f"{modality}_slots"] = MultiModalFieldConfig.batched(modality, keep_on_cpu=True)
            fields[f"{modality}_embeds"] = MultiModalFieldConfig.batched(modality)
        return fields

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],  # noqa: ARG002
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        config, place = self.info.get_hf_config(), self.info.place_id
        per_slot = {"image": config.tokens_per_grid, "video": config.tokens_per_frame}

        def places(modality: str) -> Callable[[int], list[int]]:
            def of_item(index: int) -> list[int]:
                items = mm_items[modality]
                if isinstance(items, ImageEmbeddingItems | VideoEmbeddingItems):
                    return [place] * items.get_feature_size(index)
                slots = int(out_mm_kwargs[modality][index][f"{modality}_slots"].data)
                return [place] * (slots * per_slot[modality])

            return of_item

        return [
            PromptReplacement(modality=modality, target=[place], replacement=places(modality)) for modality in per_slot
        ]
