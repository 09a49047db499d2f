"""Which quantisation a checkpoint gets, and the memory that it needs."""

from typing import Any

import pytest
import torch

from longva_demo.errors import ModelError
from longva_demo.model import fit
from longva_demo.model.choice import needed_cpu_bytes
from longva_demo.model.fit import Checkpoint, check_memory, find_quant

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
PUBLISHED = Checkpoint({"torch_dtype": "bfloat16"}, 15_900_000_000)
SMALL = Checkpoint({"torch_dtype": "bfloat16"}, 5_000_000)


def stored(**quantization_config: Any) -> Checkpoint:
    return Checkpoint({"quantization_config": quantization_config}, 9_000_000_000)


@pytest.mark.parametrize(
    ("checkpoint", "quant"),
    [
        (PUBLISHED, None),
        (stored(quant_method="int8_rows"), "8bit"),
        (stored(quant_method="bitsandbytes", load_in_8bit=True, load_in_4bit=False), "8bit"),
        (stored(quant_method="bitsandbytes", load_in_8bit=False, load_in_4bit=True), "4bit"),
        (stored(quant_method="gptq", bits=8), "8bit"),
        (stored(quant_method="awq", bits=4), "4bit"),
    ],
)
def test_quantised_checkpoints_say_so(checkpoint: Checkpoint, quant: str | None) -> None:
    assert checkpoint.stored_quant == quant
    if quant is not None:
        assert checkpoint.loaded_bytes("none", torch.float32) == checkpoint.num_bytes


def test_auto_depends_on_the_size_and_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "free_gpu_bytes", lambda _: 16 * 10**9)
    assert [find_quant(PUBLISHED, "auto", device) for device in (CPU, CUDA, MPS)] == ["8bit", "4bit", "none"]
    assert [find_quant(SMALL, "auto", device) for device in (CPU, CUDA, MPS)] == ["none"] * 3


def test_8bit_weights_run_on_the_cpu_only() -> None:
    line = "8-bit weights run on the processor only; use --device cpu, or --quant 4bit on a GPU"
    for checkpoint, quant in ((PUBLISHED, "8bit"), (stored(quant_method="int8_rows"), "auto")):
        assert find_quant(checkpoint, quant, CPU) == "8bit"
        with pytest.raises(ModelError, match=line):
            find_quant(checkpoint, quant, CUDA)
    assert find_quant(stored(quant_method="bitsandbytes", load_in_8bit=True), "auto", CUDA) == "8bit"


def test_memory_of_longva_7b_on_the_cpu() -> None:
    """Its weights in 8 bits, with the KV cache of 16 frames in float32: 0.26 GB."""
    published = Checkpoint({"torch_dtype": "bfloat16", "model_type": "llava_qwen"}, PUBLISHED.num_bytes)
    assert published.cache_bytes(16, torch.float32) == 16 * 144 * 114_688
    assert published.needed_bytes("8bit", torch.float32) == pytest.approx(needed_cpu_bytes(), rel=1e-3)
    assert 9e9 < needed_cpu_bytes() < 10e9
    assert published.needed_bytes("none", torch.float32) > 31.8e9


@pytest.mark.parametrize(
    ("quant", "device", "remedy"),
    [
        ("none", CPU, "--quant 8bit, another --device"),
        ("8bit", CPU, "use another --device"),
        ("4bit", CPU, "use another --device"),
        ("none", CUDA, "--quant 4bit, another --device"),
        ("none", MPS, "use another --device"),
    ],
)
def test_the_remedy_suits_the_device(
    quant: str, device: torch.device, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "free_gpu_bytes", lambda _: 10**9)
    monkeypatch.setattr(fit.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**9}))
    with pytest.raises(ModelError, match=f"but only 1.0 GB are free; close other programs, or .*{remedy}"):
        check_memory("longva", PUBLISHED, quant, device, torch.float32)


def test_a_config_that_tells_nothing_still_gets_a_check() -> None:
    assert Checkpoint({"num_hidden_layers": "many"}, 1).cache_bytes(16, torch.float32) == 0
