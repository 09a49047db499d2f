"""What "auto" chooses, from facts alone."""

from dataclasses import replace

import pytest

from longva_demo.model.choice import LONGVA_7B, Facts, choose, needed_bytes

GB = 10**9
SERVER = Facts(
    gpu_name="A100", gpu_bytes=80 * GB, is_cached=True, is_reachable=False, disk_bytes=0, has_bitsandbytes=True
)


@pytest.mark.parametrize(
    ("free_gigabytes", "quant"), [(141, "none"), (80, "none"), (40, "none"), (24, "4bit"), (16, "4bit"), (12, "4bit")]
)
def test_precision_by_memory(free_gigabytes: int, quant: str) -> None:
    choice = choose(replace(SERVER, gpu_bytes=free_gigabytes * GB))
    assert (choice.model_id, choice.quant) == (LONGVA_7B, quant)
    assert f"A100 with {free_gigabytes} GB free" in choice.reason


def test_the_figures_of_the_design() -> None:
    """1,555 frames of bf16 keys and values are 12.8 GB; on a 24 GB card they fit beside the 4-bit weights."""
    assert needed_bytes("none") - needed_bytes("none", 0) == pytest.approx(12.8 * GB, rel=0.01)
    assert needed_bytes("4bit") < 24 * GB < needed_bytes("none")


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        (Facts(), "no CUDA GPU is in use"),
        (replace(SERVER, gpu_bytes=6 * GB), "LongVA-7B needs 10 GB of GPU memory and there is A100 with 6 GB free"),
        (replace(SERVER, gpu_bytes=16 * GB, has_bitsandbytes=False), "bitsandbytes is not installed"),
        (replace(SERVER, is_cached=False), "the Hugging Face Hub cannot be reached"),
        (replace(SERVER, is_cached=False, is_reachable=True, disk_bytes=5 * GB), "16 GB of disk and 5.0 GB are free"),
    ],
)
def test_the_small_model_otherwise(facts: Facts, because: str) -> None:
    choice = choose(facts)
    assert (choice.model_id, choice.quant) == ("tiny", "none")
    assert because in choice.reason
    assert "--model" in choice.reason
    assert choice.reason.endswith(".")


def test_weights_may_be_downloaded() -> None:
    choice = choose(replace(SERVER, is_cached=False, is_reachable=True, disk_bytes=50 * GB))
    assert choice.model_id == LONGVA_7B
    assert "can be downloaded" in choice.reason


def test_without_bitsandbytes_bf16_with_fewer_frames() -> None:
    assert choose(replace(SERVER, gpu_bytes=24 * GB, has_bitsandbytes=False)).quant == "none"


@pytest.mark.parametrize(
    ("quant", "free_gigabytes", "chosen"),
    [
        ("4bit", 80, (LONGVA_7B, "4bit")),
        ("none", 24, (LONGVA_7B, "none")),
        ("none", 16, ("tiny", "none")),
        ("4bit", 8, ("tiny", "none")),
    ],
)
def test_a_precision_that_was_asked_for_is_kept(quant: str, free_gigabytes: int, chosen: tuple[str, str]) -> None:
    choice = choose(replace(SERVER, gpu_bytes=free_gigabytes * GB), quant)
    assert (choice.model_id, choice.quant) == chosen
