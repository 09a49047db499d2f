"""Writes a checkpoint as a repository that plain transformers loads with `trust_remote_code=True`.

The model's own modules are copied beside the weights, flat, with relative imports. Nothing of this package is needed
to load the result.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from string import Template

from longva_demo.errors import ModelError
from longva_demo.model.checkpoint_files import INDEX, weight_files
from longva_demo.model.config import LongVAConfig, write_json
from longva_demo.model.hub import check_weights, locate, read_json
from longva_demo.model.processor import LongVAProcessor
from longva_demo.model.tokenizer import image_token_id

PACKAGE = Path(__file__).parents[1]
MODEL_CLASS, PROCESSOR_CLASS = "longva.LongVAForConditionalGeneration", "processor.LongVAProcessor"
AUTO_MAP = {
    "AutoConfig": "config.LongVAConfig",
    "AutoModel": "longva.LongVAModel",
    "AutoModelForCausalLM": MODEL_CLASS,
    "AutoModelForImageTextToText": MODEL_CLASS,
    "AutoModelForMultimodalLM": MODEL_CLASS,
    "AutoProcessor": PROCESSOR_CLASS,
    "AutoImageProcessor": "image_processing.LongVAImageProcessor",
    "AutoVideoProcessor": "video_processing.LongVAVideoProcessor",
}
OWN_IMPORT = re.compile(r"^from longva_demo\.(?:model\.)?(\w+) import", re.MULTILINE)
CARD = Template(
    """---
library_name: transformers
pipeline_tag: image-text-to-text
---

# $name

A LongVA checkpoint (arXiv 2406.16852) with the code that loads it: images and videos of over a thousand frames in one
prompt. It was exported from `$source`; the licence of that model applies to the weights. The Python files are those of
the LongVA demo, Apache 2.0.

```
pip install "torch>=2.6" "transformers>=5.23,<6" accelerate pillow av
```

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "$name"
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(
    folder, trust_remote_code=True, dtype="auto", device_map="auto"
)
content = [{"type": "video", "path": "clip.mp4"}, {"type": "text", "text": "What happens in the video?"}]
inputs = processor.apply_chat_template(
    [{"role": "user", "content": content}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    processor_kwargs={"num_frames": 32},
).to(model.device)
output = model.generate(**inputs, max_new_tokens=256)
print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

Each frame takes $tokens tokens, of at most $context.
"""
)


def export(model_id: str, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the repository into a new folder. Weights are hard links where the disk allows it, else copies.

    Args:
        model_id: a Hub name, a folder, or "tiny".
        progress: is called with the number of weight files written and their number.
    Raises:
        ModelError: the model cannot be found or read, or the folder exists, or cannot be written.
    """
    source = locate(model_id)
    check_weights(source)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError(f"{target} exists already", "name a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            folder = Path(temporary) / "export"
            folder.mkdir()
            write_files(model_id, source, folder, target.name)
            copy_weights(source, folder, progress)
            if target.is_dir():
                target.rmdir()
            folder.rename(target)
    except OSError as error:
        remedy = "free some disk space" if error.errno == errno.ENOSPC else "name a folder that can be written"
        raise ModelError(f"cannot write {target} ({error.strerror or error})", remedy) from error


def write_files(model_id: str, source: Path, folder: Path, name: str) -> None:
    """Write everything but the weights: modules, configuration, processor, tokenizer and model card."""
    for module, text in flat_modules().items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    config = LongVAConfig.from_pretrained(source)
    processor = LongVAProcessor.from_pretrained(source)
    config.image_token_id = image_token_id(processor.tokenizer)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    auto_map = {"auto_map": AUTO_MAP}
    write_json(folder / "config.json", read_json(folder / "config.json") | auto_map)
    values = read_json(folder / "processor_config.json") | auto_map
    for part in ("image_processor", "video_processor"):
        values[part] |= auto_map
    write_json(folder / "processor_config.json", values)
    if (source / "generation_config.json").is_file():
        shutil.copy(source / "generation_config.json", folder)
    card = CARD.substitute(
        name=name, source=model_id, tokens=config.tokens_per_frame, context=f"{config.context_length:,}"
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def flat_modules() -> dict[str, str]:
    """The sources of the classes in AUTO_MAP and of all they import from this package, by module name."""
    modules: dict[str, str] = {}
    waiting = [reference.split(".")[0] for reference in AUTO_MAP.values()]
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        file = PACKAGE / "model" / f"{name}.py"
        text = (file if file.is_file() else PACKAGE / f"{name}.py").read_text(encoding="utf-8")
        waiting += OWN_IMPORT.findall(text)
        modules[name] = OWN_IMPORT.sub(r"from .\1 import", text)
    return modules


def copy_weights(source: Path, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    """Link or copy the safetensors files and their index."""
    files = [file.resolve() for file in weight_files(source)]
    names = [file.name for file in weight_files(source)]
    for number, (file, name) in enumerate(zip(files, names, strict=True), 1):
        try:
            os.link(file, folder / name)
        except OSError:  # another disk, or one without hard links
            shutil.copy(file, folder / name)
        if progress is not None:
            progress(number, len(files))
    if (source / INDEX).is_file():
        (folder / INDEX).write_text(json.dumps(read_json(source / INDEX), indent=2) + "\n", encoding="utf-8")
