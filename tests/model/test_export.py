"""An exported model is loaded by plain transformers, in a process that cannot import this package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longva_demo.errors import ModelError
from longva_demo.model import load
from longva_demo.model.export import export, flat_modules
from tests.model.golden import COPY

A = COPY / "a" / "checkpoint"
PROMPT = "<|im_start|>user\n<image>\nWhat is the colour of the star?<|im_end|>\n<|im_start|>assistant\n"
MODELS = {"a": str(A), "tiny": "tiny"}  # by the name of the folder to which they are exported
SCRIPT = """
import importlib.util, json, sys
assert importlib.util.find_spec("longva_demo") is None
import numpy as np
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
prompt, *folders = sys.argv[1:]
clip = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)
results = {}
for folder in folders:
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, dtype="float32")
    inputs = processor(text=prompt, videos=[clip])
    logits = model(**inputs).logits
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1]:]
    pipe = pipeline("image-text-to-text", model=folder, trust_remote_code=True, dtype="float32")
    content = [{"type": "video", "video": clip}, {"type": "text", "text": "What is the colour of the star?"}]
    told = pipe(text=[{"role": "user", "content": content}], return_full_text=False, max_new_tokens=8,
                generate_kwargs={"do_sample": False})
    np.save(folder + ".npy", logits.detach().numpy())
    results[folder] = {"answer": answer.tolist(), "told": told[0]["generated_text"]}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What plain transformers computes with the models: logits, an answer, and what the pipeline says."""
    folder = tmp_path_factory.mktemp("exported")
    for name, model_id in MODELS.items():
        export(model_id, folder / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-c", SCRIPT, PROMPT, *MODELS]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return {name: result | {"logits": np.load(folder / f"{name}.npy")} for name, result in results.items()}


@pytest.mark.parametrize("name", MODELS)
def test_the_exported_model_is_the_same_without_this_package(name: str, exported: dict[str, dict[str, Any]]) -> None:
    loaded, theirs = load(MODELS[name], device="cpu"), exported[name]
    clip = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)
    inputs = loaded.processor(text=PROMPT, videos=[clip])
    with torch.no_grad():
        ours = loaded.model(**inputs).logits
    assert torch.allclose(torch.from_numpy(theirs["logits"]), ours, atol=1e-5)
    answer = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert theirs["answer"] == answer.tolist()
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    inputs = loaded.processor(text=system + PROMPT, videos=[clip])
    answer = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert theirs["told"] == loaded.processor.decode(answer, skip_special_tokens=True)


def test_this_package_loads_it_too(tmp_path: Path) -> None:
    export(str(A), tmp_path / "model")
    ours, theirs = load(str(tmp_path / "model"), device="cpu"), load(str(A), device="cpu")
    inputs = theirs.processor(text="a dog")
    assert torch.equal(ours.model(**ours.processor(text="a dog")).logits, theirs.model(**inputs).logits)


def test_the_weights_are_linked_and_the_card_has_an_example(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export(str(A), tmp_path / "my-longva", lambda done, total: seen.append((done, total)))
    [*_, last] = seen
    files = sorted((tmp_path / "my-longva").glob("*.safetensors"))
    assert last == (len(files), len(files))
    assert all((file.stat().st_ino == (A / file.name).stat().st_ino) or file.read_bytes() for file in files)
    card = (tmp_path / "my-longva" / "README.md").read_text()
    assert 'folder = "my-longva"' in card
    assert "the licence of that model applies" in card


def test_modules_do_not_mention_this_package_in_imports() -> None:
    modules = flat_modules()
    assert {"config", "longva", "processor", "image_processing", "video_processing", "errors"} <= modules.keys()
    assert "loading" not in modules
    for text in modules.values():
        assert "import longva_demo" not in text
        assert "from longva_demo" not in text


def test_nothing_is_overwritten_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(ModelError, match="taken exists already; name a new folder"):
        export(str(A), tmp_path / "taken")
    with pytest.raises(ModelError, match="there is no folder"):
        export("./nothing", tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write"):
        export(str(A), tmp_path / "file" / "inside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
