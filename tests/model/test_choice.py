"""What "auto" chooses for a given machine."""

from dataclasses import replace

import pytest

from longva_demo.model.choice import LONGVA_7B, HostInfo, choose, needed_bytes

GB = 10**9
SERVER = HostInfo(
    gpu_name="A100", gpu_bytes=80 * GB, is_cached=True, is_reachable=False, disk_bytes=0, has_bitsandbytes=True
)


@pytest.mark.parametrize(
    ("free_gigabytes", "quant"), [(141, "none"), (80, "none"), (40, "none"), (24, "4bit"), (16, "4bit"), (12, "4bit")]
)
def test_precision_depends_on_free_memory(free_gigabytes: int, quant: str) -> None:
    choice = choose(replace(SERVER, gpu_bytes=free_gigabytes * GB))
    assert (choice.model_id, choice.quant) == (LONGVA_7B, quant)
    assert f"A100 with {free_gigabytes} GB free" in choice.reason


def test_memory_of_the_whole_context() -> None:
    """The KV cache of 1,555 frames is 12.8 GB in bf16; on a 24 GB GPU it fits beside the 4-bit weights."""
    assert needed_bytes("none") - needed_bytes("none", 0) == pytest.approx(12.8 * GB, rel=0.01)
    assert needed_bytes("4bit") < 24 * GB < needed_bytes("none")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (HostInfo(), "no CUDA GPU is in use"),
        (HostInfo(memory_bytes=16 * GB), "in 8 bits and needs 9.3 GB of memory, which are free"),
        (HostInfo(memory_bytes=8 * GB), "in 8 bits and needs 9.3 GB of memory, which are not free"),
        (replace(SERVER, gpu_bytes=6 * GB), "LongVA-7B needs 10 GB of GPU memory, but the GPU is A100 with 6 GB free"),
        (replace(SERVER, gpu_bytes=16 * GB, has_bitsandbytes=False), "bitsandbytes is not installed"),
        (replace(SERVER, is_cached=False), "the Hugging Face Hub is unreachable"),
        (
            replace(SERVER, is_cached=False, is_reachable=True, disk_bytes=5 * GB),
            "16 GB of disk space, but only 5.0 GB are free",
        ),
    ],
)
def test_falls_back_to_the_built_in_model(host: HostInfo, why: str) -> None:
    choice = choose(host)
    assert (choice.model_id, choice.quant) == ("tiny", "none")
    assert why in choice.reason
    assert "--model" in choice.reason
    assert choice.reason.endswith(".")


def test_uncached_weights_are_downloaded() -> None:
    choice = choose(replace(SERVER, is_cached=False, is_reachable=True, disk_bytes=50 * GB))
    assert choice.model_id == LONGVA_7B
    assert "can be downloaded" in choice.reason


def test_bf16_with_fewer_frames_without_bitsandbytes() -> None:
    assert choose(replace(SERVER, gpu_bytes=24 * GB, has_bitsandbytes=False)).quant == "none"


@pytest.mark.parametrize(
    ("quant", "free_gigabytes", "chosen"),
    [
        ("4bit", 80, (LONGVA_7B, "4bit")),
        ("none", 24, (LONGVA_7B, "none")),
        ("none", 16, ("tiny", "none")),
        ("4bit", 8, ("tiny", "none")),
        ("8bit", 80, ("tiny", "none")),
    ],
)
def test_a_requested_precision_is_kept(quant: str, free_gigabytes: int, chosen: tuple[str, str]) -> None:
    choice = choose(replace(SERVER, gpu_bytes=free_gigabytes * GB), quant)
    assert (choice.model_id, choice.quant) == chosen
