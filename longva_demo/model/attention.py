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
# MPS materialises the scores of a call. Past 2**32 bytes the process aborts (pytorch #149261).
MAX_SCORE_BYTES = 2**30
SCORE_BYTES = 4  # float32, the largest dtype in use


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
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if needs_bounds(query.device):
        output = bounded_attention(query, key, value, attention_mask, causal, dropout, scaling)
        return output.transpose(1, 2).contiguous(), None
    num_queries, num_keys = query.shape[2], key.shape[2]
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
    if grouped and not (
        query.is_cuda and can_use_flash_attention(SDPAParams(query, key, value, None, dropout, False, True))
    ):
        # Only CUDA's flash kernel surely supports grouped heads here: not the memory-efficient one, which older GPUs
        # and float32 use, and elsewhere not before torch 2.13.
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


def needs_bounds(device: torch.device) -> bool:
    return device.type == "mps"


def bounded_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Attention for Apple's GPUs: no grouped heads, and no call with more than MAX_SCORE_BYTES of scores.

    Grouped heads with one query and many keys give wrong results there (pytorch #174861), and so do calls with more
    than 2**32 scores (pytorch pull request 179592). Each call has one query head per key head, and some of the
    queries. Nothing of the cache is copied. (batch, heads, queries, size) to the same shape.
    """
    batch, heads, num_queries, size = query.shape
    kv_heads, num_keys = key.shape[1], key.shape[2]
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, num_queries, size)
    if num_queries == 1:  # the query heads of a key head are its queries
        rows = scaled_dot_product_attention(grouped[:, :, :, 0], key, value, mask, dropout, scale=scaling)
        return rows.reshape(batch, heads, 1, size)
    step = max(1, MAX_SCORE_BYTES // (SCORE_BYTES * batch * kv_heads * num_keys))
    output = torch.empty_like(grouped)
    for first in range(0, num_queries, step):
        part = slice(first, min(first + step, num_queries))
        end, part_mask = num_keys, None if mask is None else mask[:, :, part]
        if mask is None and causal:
            end = num_keys - num_queries + part.stop  # the last key that a query of this part may see
            shape = (part.stop - first, end)
            part_mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril(end - shape[0])
        for group in range(grouped.shape[2]):
            output[:, :, group, part] = scaled_dot_product_attention(
                grouped[:, :, group, part], key[:, :, :end], value[:, :, :end], part_mask, dropout, scale=scaling
            )
    return output.reshape(batch, heads, num_queries, size)


AttentionInterface.register(NAME, chunked_attention)
AttentionMaskInterface.register(NAME, chunked_mask)
