"""LongVA for vLLM, as a plugin: the configuration, the model, a loader of frames and a logits processor."""


def register() -> None:
    """What the entry point `vllm.general_plugins` calls in every process of vLLM, perhaps more than once."""
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from longva_vllm import frames  # noqa: F401  (registers the loader)
    from longva_vllm.config import LongVAConfig

    AutoConfig.register("llava_qwen", LongVAConfig, exist_ok=True)
    ModelRegistry.register_model("LlavaQwenForCausalLM", "longva_vllm.model:LongVAForCausalLM")
