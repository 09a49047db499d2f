"""The entry point by which lmms-eval finds the model `longva_demo` (the extra [eval])."""

from typing import Any

MODEL = "longva_demo"


def manifest() -> Any:
    """A `ModelManifest` of lmms-eval."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL, chat_class_path="longva_demo.eval.lmms_model.LongVADemo")
