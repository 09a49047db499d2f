"""LongVA on plain transformers: frames and images to tokens, tokens to logits, and `load`."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

from longva_demo.model.config import LongVAConfig
from longva_demo.model.image_processing import LongVAImageProcessor
from longva_demo.model.loading import LoadedModel, load
from longva_demo.model.longva import LongVAForConditionalGeneration, LongVAModel
from longva_demo.model.processor import LongVAProcessor
from longva_demo.model.video_processing import LongVAVideoProcessor

AutoConfig.register(LongVAConfig.model_type, LongVAConfig)
AutoModel.register(LongVAConfig, LongVAModel)
AutoModelForCausalLM.register(LongVAConfig, LongVAForConditionalGeneration)
AutoModelForImageTextToText.register(LongVAConfig, LongVAForConditionalGeneration)
AutoModelForMultimodalLM.register(LongVAConfig, LongVAForConditionalGeneration)
AutoImageProcessor.register(LongVAConfig, LongVAImageProcessor)
# AutoVideoProcessor itself needs torchvision.
VIDEO_PROCESSOR_MAPPING.register(LongVAConfig, LongVAVideoProcessor)  # type: ignore[arg-type]
AutoProcessor.register(LongVAConfig, LongVAProcessor)

__all__ = [
    "LoadedModel",
    "LongVAConfig",
    "LongVAForConditionalGeneration",
    "LongVAImageProcessor",
    "LongVAModel",
    "LongVAProcessor",
    "LongVAVideoProcessor",
    "load",
]
