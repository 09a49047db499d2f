"""LongVA on plain transformers: frames and images to tokens, tokens to logits, and `load`."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from longva_demo.model.config import LongVAConfig
from longva_demo.model.loading import LoadedModel, load
from longva_demo.model.longva import LongVAForConditionalGeneration, LongVAModel
from longva_demo.model.processor import LongVAProcessor

AutoConfig.register(LongVAConfig.model_type, LongVAConfig)
AutoModel.register(LongVAConfig, LongVAModel)
AutoModelForCausalLM.register(LongVAConfig, LongVAForConditionalGeneration)
AutoModelForImageTextToText.register(LongVAConfig, LongVAForConditionalGeneration)
AutoProcessor.register(LongVAConfig, LongVAProcessor)

__all__ = [
    "LoadedModel",
    "LongVAConfig",
    "LongVAForConditionalGeneration",
    "LongVAModel",
    "LongVAProcessor",
    "load",
]
