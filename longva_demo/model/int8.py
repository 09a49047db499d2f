"""8-bit weights on the CPU: int8 with one float32 scale per row, multiplied by PyTorch's own kernels.

The language model's linear layers and lm_head are quantised, to the nearest value. The vision tower and the projector
are not, and the embedding keeps the dtype of the checkpoint. `from_pretrained` quantises each weight as it is read, so
memory never holds a second copy. `save_pretrained` writes int8 weights and their scales; loading them again needs no
option, because config.json names the method. Importing this module registers it with transformers.
"""

import math
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.quantizers.quantizers_utils import get_module_from_name
from transformers.utils.quantization_config import QuantizationConfigMixin

METHOD = "int8_rows"  # `quant_method` in config.json
NOT_QUANTISED = ("vision_tower", "mm_projector")
# The packed kernel's time grows with each token. Above this number, another one is faster: measured crossovers are 25
# to 60 tokens where weights are converted to floating point, and 4 to 8 where products of integers are fast.
MAX_PACKED_TOKENS, MAX_PACKED_TOKENS_BESIDE_INTEGERS = 32, 4
# Weights are converted so many rows at a time: 7 to 39 MB of float32 in LongVA-7B. With fewer, threads wait for each
# other more often, which is slow beside other programs.
BLOCK_ROWS = 512
BLOCK_TOKENS = 32  # are split into integers at a time, which fit into the processor's cache
MAX_INT8 = 127
FINE_STEPS = 2 * MAX_INT8  # the second int8 of an activation counts in these fractions of the first one's step
MIN_SCALE = 1e-12  # for a row of zeros
# On processors with AVX-512 the packed kernel crashes unless the weights' address is a multiple of 16. In a safetensors
# file, which is mapped into memory, it is one of 8. This is a cache line.
ALIGNMENT = 64
PROBE_TOKENS, PROBE_RUNS = 256, 15
EXACT_TOKENS = 16
HOPELESS = 10  # times as long: the loop that stands in for integer products without VNNI takes 60


class Int8Linear(nn.Module):
    """nn.Linear with int8 weights, for inference on the CPU: (x · weightᵀ) · scale + bias."""

    scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        weight = torch.empty(out_features, in_features, dtype=torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features, dtype=dtype), requires_grad=False) if bias else None
        self.register_buffer("scale", torch.empty(out_features, dtype=torch.float32))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    @torch.no_grad()  # the packed kernel has no gradient
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        rows, kernels = x.reshape(-1, self.in_features), probe_kernels()
        if len(rows) <= kernels.max_packed_tokens:
            y = self.multiply_packed(rows)
        elif kernels.has_integers and rows.dtype == torch.float32:
            y = self.multiply_integers(rows)
        else:
            y = self.multiply_blocks(rows)
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], self.out_features)

    def multiply_packed(self, rows: torch.Tensor) -> torch.Tensor:
        """(tokens, in_features) to (tokens, out_features), reading the int8 weights as they are.

        The kernel is vectorised for bfloat16 input only.
        """
        half = torch.bfloat16
        return torch.ops.aten._weight_int8pack_mm(rows.to(half), self.weight, self.scale.to(half)).to(rows.dtype)

    def multiply_blocks(self, rows: torch.Tensor) -> torch.Tensor:
        """The same through ordinary matrix products, converting a block of weights at a time to the dtype of `rows`."""
        y = rows.new_empty(len(rows), self.out_features)
        block = rows.new_empty(min(BLOCK_ROWS, self.out_features), self.in_features)
        for first in range(0, self.out_features, BLOCK_ROWS):
            part = self.weight[first : first + BLOCK_ROWS]
            torch.mm(rows, block[: len(part)].copy_(part).T, out=y[:, first : first + len(part)])
        return y.mul_(self.scale)

    def multiply_integers(self, rows: torch.Tensor) -> torch.Tensor:
        """The same through products of integers, which processors with VNNI compute in int32 without rounding.

        Each activation is the sum of two int8 numbers, so that a token has 16 bits relative to its largest value.
        """
        halves, token_scale = split(rows)
        y = rows.new_empty(len(rows), self.out_features)
        for first in range(0, self.out_features, BLOCK_ROWS):
            part = self.weight[first : first + BLOCK_ROWS]
            coarse, fine = torch._int_mm(halves, part.T).chunk(2)
            block = y[:, first : first + len(part)]
            block.copy_(fine).div_(FINE_STEPS).add_(coarse)
        return y.mul_(token_scale).mul_(self.scale)


@dataclass(frozen=True)
class Kernels:
    """Which kernels are fast here: up to how many tokens the packed one, and whether products of integers are."""

    max_packed_tokens: int
    has_integers: bool


@cache
def probe_kernels() -> Kernels:
    """Measure this processor, for less than a second. Later calls return the first result.

    Without VNNI, products of integers are slow and may overflow. The packed kernel is a plain loop on Windows.
    """
    layer = Int8Linear(3584, 512, bias=False)
    layer.weight.fill_(MAX_INT8)
    layer.scale.fill_(1.0)
    tokens = torch.ones(PROBE_TOKENS, layer.in_features)
    few = tokens[:EXACT_TOKENS]
    are_exact = torch.equal(layer.multiply_integers(few), layer.multiply_blocks(few))
    halves = split(tokens)[0]
    has_integers = are_exact and is_faster(
        partial(torch._int_mm, halves, layer.weight.T), partial(layer.multiply_blocks, tokens)
    )
    limit = MAX_PACKED_TOKENS_BESIDE_INTEGERS if has_integers else MAX_PACKED_TOKENS
    has_packed = is_faster(partial(layer.multiply_packed, tokens[:1]), partial(layer.multiply_blocks, tokens[:1]))
    return Kernels(limit if has_packed else 0, has_integers)


def is_faster(one: Callable[[], object], other: Callable[[], object]) -> bool:
    """By the least of many times, in turns: other programs slow down some of them, for both."""
    least = least_other = math.inf
    for _ in range(PROBE_RUNS):
        least = min(least, timeit.timeit(one, number=1))
        least_other = min(least_other, timeit.timeit(other, number=1))
        if least > HOPELESS * least_other:
            break
    return least < least_other


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) to int8 and float32 scales (rows,). The largest value of a row becomes 127 or -127.

    >>> quantise(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))[0].tolist()
    [[64, -127], [0, 0]]
    """
    scale = torch.empty(len(weight))
    quantised = torch.empty(weight.shape, dtype=torch.int8)
    for first in range(0, len(weight), BLOCK_ROWS):
        part = weight[first : first + BLOCK_ROWS].to(torch.float32, copy=True)
        largest = torch.maximum(part.amax(1), part.amin(1).neg_()).clamp_(min=MIN_SCALE * MAX_INT8)
        scale[first : first + len(part)] = largest / MAX_INT8
        quantised[first : first + len(part)] = part.mul_((MAX_INT8 / largest)[:, None]).round_()
    return quantised, scale


def split(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, columns) of float32 to int8 (2 · tokens, columns), coarse and then fine, and scales (tokens, 1).

    rows ≈ (coarse + fine / FINE_STEPS) · scale. A token's error is at most its largest value / 64,516.

    >>> halves, scale = split(torch.tensor([[127.0, -1.25]]))
    >>> halves.tolist(), scale.item()
    ([[127, -1], [0, -64]], 1.0)
    """
    halves = torch.empty(2 * len(rows), rows.shape[1], dtype=torch.int8)
    coarse, fine = halves.chunk(2)
    scales = rows.new_empty(len(rows), 1)
    for first in range(0, len(rows), BLOCK_TOKENS):
        tokens = slice(first, first + BLOCK_TOKENS)
        smallest, largest = rows[tokens].aminmax(dim=1, keepdim=True)
        scales[tokens] = torch.maximum(largest, -smallest).clamp_(min=MIN_SCALE * MAX_INT8).div_(MAX_INT8)
        steps = rows[tokens] / scales[tokens]
        whole = steps.round()
        coarse[tokens] = whole
        fine[tokens] = steps.sub_(whole).mul_(FINE_STEPS).round_()
    return halves, scales


class CastEmbedding(nn.Embedding):
    """Keeps the embedding in the checkpoint's dtype, and returns rows in `output_dtype`."""

    output_dtype = torch.float32

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return embedding(input, self.weight).to(self.output_dtype)


@register_quantization_config(METHOD)
class Int8Config(QuantizationConfigMixin):
    """`quantization_config` of config.json. `embedding_dtype` is the checkpoint's."""

    def __init__(self, embedding_dtype: str = "bfloat16", **_: Any) -> None:
        self.quant_method: Any = METHOD
        self.embedding_dtype = embedding_dtype


class QuantiseRows(ConversionOps):
    """Turns a weight of the checkpoint into int8 and scales while it is loaded."""

    def __init__(self, quantizer: "Int8Quantizer") -> None:
        self.quantizer = quantizer

    def convert(  # type: ignore[override]  # transformers passes everything by name
        self, input_dict: dict[str, Any], full_layer_name: str, **kwargs: Any
    ) -> dict[str, Any]:
        (value,) = input_dict.values()
        weight = value[0] if isinstance(value, list) else value
        self.quantizer.converted.add(full_layer_name)
        scale_name = f"{full_layer_name.removesuffix('weight')}scale"
        if (missing := kwargs.get("missing_keys")) is not None:
            missing.discard(scale_name)
        if weight.shape != kwargs["model"].get_parameter(full_layer_name).shape:
            return {full_layer_name: weight}  # transformers reports it
        quantised, scale = quantise(weight)
        return {full_layer_name: quantised, scale_name: scale}


@register_quantizer(METHOD)
class Int8Quantizer(HfQuantizer):
    """Replaces linear layers by Int8Linear before the weights are loaded."""

    quantization_config: Int8Config

    def __init__(self, quantization_config: QuantizationConfigMixin, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        self.converted: set[str] = set()

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        is_tied = model.config.tie_word_embeddings
        kept = {*NOT_QUANTISED, "lm_head"} if is_tied else {*NOT_QUANTISED}
        dtype = kwargs.get("dtype") or torch.float32
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and not kept & set(name.split(".")):
                with torch.device("meta"):
                    layer = Int8Linear(module.in_features, module.out_features, module.bias is not None, dtype)
                model.set_submodule(name, layer)
        if not is_tied:
            model.set_input_embeddings(self.cast_embedding(model.get_input_embeddings(), dtype))

    def cast_embedding(self, table: Any, dtype: torch.dtype) -> CastEmbedding:
        stored = getattr(torch, self.quantization_config.embedding_dtype)
        with torch.device("meta"):
            replacement = CastEmbedding(table.num_embeddings, table.embedding_dim, table.padding_idx, dtype=stored)
        replacement.output_dtype = dtype
        return replacement

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        for module in model.modules():
            if isinstance(module, Int8Linear) and module.weight.data_ptr() % ALIGNMENT:
                module.weight.data = module.weight.data.clone()
        return model

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **_: Any) -> bool:
        """Whether a tensor of the checkpoint is still to be quantised.

        transformers asks again before it sets the tensor, and reports a wrong shape only if the answer is no.
        """
        if self.pre_quantized or param_name in self.converted:
            return False
        module, name = get_module_from_name(model, param_name)
        return isinstance(module, Int8Linear) and name == "weight"

    def get_quantize_ops(self) -> QuantiseRows:
        return QuantiseRows(self)

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False
