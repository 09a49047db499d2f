"""Exact causal attention that stays fast for every chunk of a long prompt.

transformers builds a dense (chunk, keys) mask for any chunk that follows cached keys. At 8K x 224K that mask takes
1.8 GB and disables the fast kernels. `chunked_mask` returns None whenever the mask would be purely causal, and
`chunked_attention` then aligns the causal triangle to the lower right.
"""

from typing import Any

import torch
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.import_utils import is_tracing

NAME = "chunked_sdpa"


def is_unpadded(padding: torch.Tensor | None) -> bool:
    return padding is None or (not is_tracing(padding) and bool(padding.all()))


def chunked_mask(
    *, q_length: int, kv_length: int, q_offset: Any, kv_offset: int, attention_mask: torch.Tensor | None, **kwargs: Any
) -> torch.Tensor | None:
    """Return None if the queries are the last keys and nothing is padded, else transformers' own mask.

    Example: a chunk of 4 after 6 cached keys has q_offset 6, q_length 4, kv_length 10, and needs no mask.
    """
    allow_skip = kwargs.pop("allow_is_causal_skip", True)
    # A static cache is longer than what was written to it, and its offset may be a tensor: both need the dense mask.
    is_last_chunk = isinstance(q_offset, int) and kv_offset == 0 and q_offset + q_length == kv_length
    if allow_skip and is_last_chunk and is_unpadded(attention_mask):
        return None
    return sdpa_mask(
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        attention_mask=attention_mask,
        allow_is_causal_skip=False,
        **kwargs,
    )


def chunked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from queries (batch, heads, queries, size) to keys (batch, kv_heads, keys, size).

    Returns:
        (batch, queries, heads, size), and None in place of the attention weights, which are never materialised.
    """
    num_queries, num_keys = query.shape[2], key.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    later_chunk = causal and attention_mask is None and 1 < num_queries < num_keys
    if not later_chunk:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **kwargs
        )
    if query.device.type == "cpu" and not torch.is_grad_enabled() and dropout == 0.0:
        output = lse_merged_attention(query, key, value, scaling)
    else:
        output = lower_right_attention(query, key, value, dropout, scaling)
    return output.transpose(1, 2).contiguous(), None


def lower_right_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scaling: float | None
) -> torch.Tensor:
    """Causal attention of a later chunk with PyTorch's fused kernels and a lower-right causal bias."""
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.is_cuda:
        parameters = SDPAParams(query, key, value, None, dropout, False, True)
        if not can_use_flash_attention(parameters):
            # The memory-efficient kernel, used on older GPUs and for float32, does not support grouped heads.
            group = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
            grouped = False
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=causal_lower_right(query.shape[2], key.shape[2]),
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=grouped,
    )


def lse_merged_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Causal attention of a later chunk on the CPU, in two flash calls merged by their log-sum-exps.

    One call covers the cached keys, the other the chunk itself. Softmax over the union of two key sets is the average
    of the two softmaxes, weighted by their sums of exponentials, so the result is exact.

    The CPU has no lower-right kernel: there `causal_lower_right` materialises the mask. With 512 queries on 18,000
    cached keys and one thread, 8 heads on 2 take 431 ms and 50 MB with the mask, 326 ms and 13 MB here; 2 heads on 2
    take 163 ms and 101 ms. Not differentiable: the log-sum-exps carry no gradient.
    """
    batch, heads, num_queries, size = query.shape
    kv_heads, past = key.shape[1], key.shape[2] - num_queries
    group = heads // kv_heads
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    # Query heads that share a key head become extra queries of that head, which avoids copying the cached keys.
    rows = query.reshape(batch, kv_heads, group * num_queries, size)
    past_out, past_lse = flash(rows, key[:, :, :past], value[:, :, :past], 0.0, False, scale=scaling)
    past_out = past_out.reshape(batch, heads, num_queries, size)
    past_lse = past_lse.reshape(batch, heads, num_queries)
    own_key = key[:, :, past:].repeat_interleave(group, dim=1)
    own_value = value[:, :, past:].repeat_interleave(group, dim=1)
    own_out, own_lse = flash(query, own_key, own_value, 0.0, True, scale=scaling)
    past_weight = torch.sigmoid(past_lse - own_lse).unsqueeze(-1).to(own_out.dtype)  # (batch, heads, queries, 1)
    return torch.lerp(own_out, past_out, past_weight)  # (batch, heads, queries, size)


AttentionInterface.register(NAME, chunked_attention)
AttentionMaskInterface.register(NAME, chunked_mask)
