"""Apple's GPUs (MPS), as far as a CPU can test them: nothing here has run on one.

The arithmetic of their attention runs here on the CPU; limits, device names and error texts need no device.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from longva_demo.chat.budget import free_memory, host_free_memory, measure_budget
from longva_demo.chat.local_engine import LocalEngine, is_out_of_memory
from longva_demo.chat.steps import MIN_STEP_TOKENS, StepCost
from longva_demo.errors import BudgetError, ModelError
from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, attention, load
from longva_demo.model.loading import find_attention, find_device, find_dtype, one_line_errors
from longva_demo.settings import Settings
from tests.model.golden import COPY, load_model
from tests.model.test_attention import TOLERANCE, LargestTensor, eager, run
from tests.model.test_loading import failure

A = COPY / "a" / "checkpoint"  # 4 query heads on 2 key heads
MPS = torch.device("mps")
OUT_OF_MEMORY = (
    "MPS backend out of memory (MPS allocated: 17.5 GiB, other allocations: 384 KiB, max allowed: 18.1 GiB). "
    "Tried to allocate 1.1 GiB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit "
    "for memory allocations (may cause system failure)."
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[torch.Size, torch.Size, dict[str, Any]]]]:
    """The CPU computes attention as MPS would. Shapes of queries and keys, and options, of each call of SDPA."""
    made: list[tuple[torch.Size, torch.Size, dict[str, Any]]] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def record(query: torch.Tensor, key: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        made.append((query.shape, key.shape, options))
        return original(query, key, *others, **options)

    monkeypatch.setattr(attention, "needs_bounds", lambda device: device.type == "cpu")
    monkeypatch.setattr(attention, "scaled_dot_product_attention", record)
    yield made
    assert made
    for query, key, options in made:
        assert query[1] == key[1], "grouped heads"
        assert not options.get("enable_gqa")


@pytest.fixture
def model() -> LongVAForConditionalGeneration:
    return load_model(A)


@pytest.fixture
def embeds() -> torch.Tensor:
    return torch.randn(1, 50, 64, generator=torch.Generator().manual_seed(0))


def test_only_mps_needs_bounds() -> None:
    names = ("cpu", "cuda", "mps", "mps:0")
    assert [attention.needs_bounds(torch.device(name)) for name in names] == [False, False, True, True]


@pytest.mark.parametrize("max_bytes", [2**30, 2000])
@pytest.mark.parametrize("sizes", [[50], [17, 33], [1, 48, 1], [20, 1, 1, 28], [10] * 5])
@torch.no_grad()
def test_output_equals_unchunked_attention(
    model: LongVAForConditionalGeneration,
    embeds: torch.Tensor,
    sizes: list[int],
    max_bytes: int,
    calls: list,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "MAX_SCORE_BYTES", max_bytes)
    difference = run(model, list(embeds.split(sizes, dim=1))) - eager(embeds)
    assert difference.abs().max() < TOLERANCE
    scores = [4 * query[:3].numel() * key[2] for query, key, _ in calls]
    assert max(scores) <= max(max_bytes, 4 * 4 * 50)  # a single query of 4 heads cannot be split


@torch.no_grad()
def test_padding_and_a_static_cache_are_masked(
    model: LongVAForConditionalGeneration, embeds: torch.Tensor, calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MAX_SCORE_BYTES", 2000)
    mask = torch.ones(1, 50, dtype=torch.long)
    mask[:, :5] = 0
    cache = DynamicCache()
    first = model.model(inputs_embeds=embeds[:, :20], attention_mask=mask[:, :20], past_key_values=cache)
    second = model.model(inputs_embeds=embeds[:, 20:49], attention_mask=mask[:, :49], past_key_values=cache)
    third = model.model(inputs_embeds=embeds[:, 49:], attention_mask=mask, past_key_values=cache)
    ours = torch.cat([part.last_hidden_state for part in (first, second, third)], dim=1)[:, 5:]
    assert (ours - eager(embeds, mask)[:, 5:]).abs().max() < TOLERANCE
    static = StaticCache(config=model.config, max_cache_len=64)
    difference = run(model, list(embeds.split([20, 30], dim=1)), cache=static) - eager(embeds)
    assert difference.abs().max() < TOLERANCE
    assert len(calls) > 10


@torch.no_grad()
def test_an_answer_is_the_same(model: LongVAForConditionalGeneration, calls: list) -> None:
    ids = torch.randint(0, 597, (1, 40), generator=torch.Generator().manual_seed(0))
    ours = model.generate(ids, do_sample=False, max_new_tokens=8)
    assert calls
    plain = LongVAForConditionalGeneration.from_pretrained(A, attn_implementation="eager")
    assert torch.equal(ours, plain.generate(ids, do_sample=False, max_new_tokens=8))


@torch.no_grad()
def test_cached_keys_are_not_copied(
    model: LongVAForConditionalGeneration, calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk, past = 64, 4096
    monkeypatch.setattr(attention, "MAX_SCORE_BYTES", 4 * 2 * 16 * (past + chunk))  # 16 queries at a time
    generator = torch.Generator().manual_seed(0)
    cache = DynamicCache()
    model.model(inputs_embeds=torch.randn(1, past, 64, generator=generator), past_key_values=cache)
    with LargestTensor() as largest:
        model.model(inputs_embeds=torch.randn(1, chunk, 64, generator=generator), past_key_values=cache)
    assert calls
    assert largest.elements <= 2 * (past + chunk) * 16  # the cache itself


@pytest.mark.parametrize("num_keys", [0, 16 * 144, 231 * 144, 462 * 144, 1_551 * 144])
def test_a_step_has_at_most_two_frames(num_keys: int) -> None:
    """Its scores stay far below 2**32 bytes, where MPS aborts, even in float32 and for all heads at once."""
    config = LongVAConfig()
    num_tokens = StepCost.of(config, MPS).num_tokens(num_keys)
    assert MIN_STEP_TOKENS <= num_tokens <= 2 * config.tokens_per_frame
    assert 4 * config.num_attention_heads * num_tokens * (num_keys + num_tokens) < 2**32
    assert StepCost.of(config, MPS).num_tokens(0) == 2 * config.tokens_per_frame


def test_free_memory_is_the_hosts() -> None:
    assert free_memory(MPS) == pytest.approx(host_free_memory(), rel=0.2)
    loaded: Any = SimpleNamespace(device=MPS, dtype=torch.float16, model=SimpleNamespace(config=LongVAConfig()))
    meter = measure_budget(loaded, 8, 256)
    assert meter.free_bytes is not None
    assert meter.largest_budget <= 0.7 * host_free_memory() / meter.kv_bytes * 8


def test_device_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure(A, device="mps") == "no Apple GPU (MPS) 'mps' is available; use --device cpu"
    assert failure(A, device="xpu").startswith("'xpu' is not a supported device; use auto, cpu, cuda")
    assert failure(A, device="meta").startswith("'meta' is not a supported device; use auto, cpu, cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto").type != "mps"
    assert find_device("mps") == MPS
    assert find_device("mps:0").index == 0
    with pytest.raises(ModelError, match=r"no Apple GPU \(MPS\) 'mps:1' is available; use --device cpu"):
        find_device("mps:1")


def test_dtype_attention_and_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_dtype("auto", MPS) == torch.float16
    assert find_dtype("bfloat16", MPS) == torch.bfloat16
    assert find_attention("auto", MPS, torch.float16) == "sdpa"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    line = "4-bit weights are not supported on Apple GPUs (MPS); use --quant none, or --device cpu"
    assert failure(A, device="mps", quant="4bit") == line


def test_auto_never_chooses_a_model_for_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert load("auto").device.type != "mps"


def test_out_of_memory_is_recognised() -> None:
    assert is_out_of_memory(RuntimeError(OUT_OF_MEMORY))
    with pytest.raises(ModelError) as caught, one_line_errors("my-model", A):
        raise RuntimeError(OUT_OF_MEMORY)
    assert str(caught.value) == "my-model does not fit into memory; close other programs or use --model tiny"
    engine = LocalEngine(load("tiny", device="cpu"), Settings())

    def run_out() -> None:
        raise RuntimeError(OUT_OF_MEMORY)

    with pytest.raises(BudgetError, match="out of memory; set a smaller budget"):
        engine._step(run_out)
