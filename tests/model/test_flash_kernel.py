"""The flash kernel of the Hub, with a stub of `get_kernel` that computes what flash-attn does, on the CPU.

The package `kernels` of the version that transformers needs, a CUDA GPU and the Hub are not available to the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import modeling_flash_attention_utils as flash_utils
from transformers.integrations import hub_kernels

from longva_demo.chat import ChatSession, LocalEngine, Sampling
from longva_demo.errors import ModelError
from longva_demo.model import flash_kernel
from longva_demo.model.choice import Choice
from longva_demo.model.flash_kernel import FLASH_KERNEL, REPOSITORY
from longva_demo.model.loading import find_attention, load_choice
from longva_demo.settings import CHOICES, Settings
from tests.model.golden import COPY
from tests.model.test_loading import failure

A = COPY / "a" / "checkpoint"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    **_: Any,
) -> torch.Tensor:
    """As in flash-attn: (batch, tokens, heads, size), grouped heads, causal triangle aligned to the lower right."""
    CALLS.append((q.shape[1], k.shape[1], causal))
    query, key, value = (part.transpose(1, 2) for part in (q, k, v))
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    mask = causal_lower_right(query.shape[2], key.shape[2]) if causal and query.shape[2] > 1 else None
    output = scaled_dot_product_attention(query, key, value, mask, dropout_p, scale=softmax_scale)
    return output.transpose(1, 2)


def flash_attn_varlen_func(*_: Any, **__: Any) -> torch.Tensor:
    raise AssertionError("nothing is padded here")


CALLS: list[tuple[int, int, bool]] = []


@dataclass
class Hub:
    """The stub: what was asked of it, and whether it can answer."""

    requested: list[tuple[str, int]] = field(default_factory=list)
    error: Exception | None = None

    def get_kernel(self, name: str, revision: str | None = None, version: int = 0, **_: Any) -> ModuleType:
        assert revision is None
        self.requested.append((name, version))
        if self.error is not None:
            raise self.error
        functions = {"flash_attn_func": flash_attn_func, "flash_attn_varlen_func": flash_attn_varlen_func}
        return SimpleNamespace(**functions)  # type: ignore[return-value]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The package `kernels` is installed, and its Hub is the stub."""
    stub = Hub()
    monkeypatch.setattr(flash_kernel, "is_kernels_available", lambda: True)
    monkeypatch.setattr("transformers.modeling_utils.is_kernels_available", lambda: True)
    monkeypatch.setattr(hub_kernels, "is_kernels_available", lambda: True)
    monkeypatch.setattr(hub_kernels, "get_kernel", stub.get_kernel)
    monkeypatch.setattr(flash_utils, "_loaded_implementation", None)
    CALLS.clear()
    yield stub
    flash_utils._loaded_implementation = None


def load_with(attention: str) -> LocalEngine:
    """In float32, which the stub can do, so that rounding does not blur the comparison."""
    loaded = load_choice(Choice(str(A), "none", "because."), CPU, torch.float32, attention)
    assert loaded.attention == attention
    return LocalEngine(loaded, Settings())


def test_the_model_and_its_tower_use_the_kernel(hub: Hub) -> None:
    engine = load_with(FLASH_KERNEL)
    assert [name for name, _ in hub.requested] == [REPOSITORY]
    model = engine.loaded.model
    assert model.config._attn_implementation == REPOSITORY
    assert model.model.vision_tower.vision_tower.vision_model.config._attn_implementation == REPOSITORY
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    model.encode_frames(pixels)
    assert {causal for _, _, causal in CALLS} == {False}


@pytest.mark.usefixtures("hub")
def test_a_chat_gives_the_same_answer_as_sdpa() -> None:
    """Prefill in chunks, then token by token."""
    answers, logits = [], []
    for attention in (FLASH_KERNEL, "sdpa"):
        engine = load_with(attention)
        cache = engine.new_cache(400)
        ids = torch.randint(0, 597, (300,), generator=torch.Generator().manual_seed(0)).tolist()
        engine.prefill_text(ids[:200], cache)
        logits.append(engine.prefill_text(ids[200:], cache))
        session = ChatSession(engine)
        list(session.ask("What happens?", Sampling(max_new_tokens=8)))
        answers.append(session.turns[-1].answer)
        if attention == FLASH_KERNEL:
            assert (100, 300, True) in CALLS
            assert any(queries == 1 < keys for queries, keys, _ in CALLS)
    assert (logits[0] - logits[1]).abs().max() < 1e-4
    assert answers[0] == answers[1]


def test_a_kernel_that_cannot_be_loaded(hub: Hub) -> None:
    hub.error = FileNotFoundError("no build for torch 2.99\nin this repository")
    with pytest.raises(ModelError) as caught:
        load_with(FLASH_KERNEL)
    line = str(caught.value)
    assert line.startswith(f"the kernel {REPOSITORY} cannot be loaded (")
    assert "no build for torch 2.99 in this repository" in line
    assert line.endswith("; go online, or use --attention sdpa")


@pytest.mark.parametrize("attention", [name for name in CHOICES["attention"] if name not in ("auto", FLASH_KERNEL)])
def test_nothing_is_downloaded_without_being_asked(attention: str, hub: Hub) -> None:
    """Not by auto either, although the package is installed: it takes what is here."""
    for device in (CPU, CUDA):
        assert find_attention("auto", device, torch.bfloat16) == "sdpa"
    if attention == "sdpa":
        load_with(attention)
    else:
        assert "requires the package flash-attn" in failure(A, attention=attention)
    assert hub.requested == []


def test_what_it_requires(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "flash_kernel requires a CUDA GPU and a 16-bit dtype; use --attention sdpa"
    assert failure(A, attention=FLASH_KERNEL) == line
    with pytest.raises(ModelError, match="16-bit dtype"):
        find_attention(FLASH_KERNEL, CUDA, torch.float32)
    monkeypatch.setattr(flash_kernel, "is_kernels_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        find_attention(FLASH_KERNEL, CUDA, torch.float16)
    assert str(caught.value) == (
        "flash_kernel requires the package kernels; pip install 'kernels>=0.18.2,<0.19.0', or use --attention sdpa"
    )
    monkeypatch.setattr(flash_kernel, "is_kernels_available", lambda: True)
    assert find_attention(FLASH_KERNEL, CUDA, torch.float16) == FLASH_KERNEL
