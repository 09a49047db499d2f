"""8-bit weights on the CPU: int8 with one float32 scale per row, multiplied by PyTorch's own kernels.

The language model's linear layers and lm_head are quantised, to the nearest value. The vision tower and the projector
are not, and the embedding keeps the dtype of the checkpoint. `from_pretrained` quantises each weight as it is read, so
memory never holds a second copy. `save_pretrained` writes int8 weights and their scales; loading them again needs no
option, because config.json names the method. Importing this module registers it with transformers.
"""

import timeit
from functools import lru_cache, partial
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
# The packed kernel's time grows with each token. Above this number, converting the weights to floating point for an
# ordinary matrix product is faster: measured crossovers are 25 to 60 tokens.
MAX_PACKED_TOKENS = 32
# Weights are converted so many rows at a time: 7 to 39 MB of float32 in LongVA-7B. With fewer, threads wait for each
# other more often, which is slow beside other programs.
BLOCK_ROWS = 512
MAX_INT8 = 127
MIN_SCALE = 1e-12  # for a row of zeros
# On processors with AVX-512 the packed kernel crashes unless the weights' address is a multiple of 16. In a safetensors
# file, which is mapped into memory, it is one of 8. This is a cache line.
ALIGNMENT = 64


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
        rows = x.reshape(-1, self.in_features)
        y = self.multiply_packed(rows) if len(rows) <= max_packed_tokens() else self.multiply_blocks(rows)
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


@lru_cache(maxsize=1)
def max_packed_tokens() -> int:
    """Up to how many tokens the packed kernel is used: 0 where PyTorch has only a plain loop for it, as on Windows."""
    layer = Int8Linear(3584, 512, bias=False)
    layer.weight.zero_()
    layer.scale.fill_(1.0)
    token = torch.ones(1, layer.in_features)
    packed, blocks = (
        min(timeit.repeat(partial(multiply, token), number=1, repeat=20))  # beside other programs, some are slow
        for multiply in (layer.multiply_packed, layer.multiply_blocks)
    )
    return MAX_PACKED_TOKENS if packed < blocks else 0


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
