"""The KV cache: keys and values in buffers with room to grow, so that a new token is written in place."""

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, (1, kv_heads, tokens, head_dim), as views of larger buffers.

    `DynamicLayer` concatenates: with a long video in the cache, each new token would copy all of it. Here a token is
    written after the last one, and a full buffer grows by a quarter. `crop` shortens the views; the next tokens
    overwrite what was cropped.
    """

    growth = 1.25

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._key_buffer = key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[-1])
        self._value_buffer = value_states.new_empty(*value_states.shape[:2], 0, value_states.shape[-1])
        self.keys, self.values = self._key_buffer, self._value_buffer
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write states of shape (1, kv_heads, new_tokens, head_dim); return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._key_buffer.shape[-2]:
            self.reserve(max(end, int(self.growth * end)))
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        self.keys = self._key_buffer[:, :, :end]
        self.values = self._value_buffer[:, :, :end]
        return self.keys, self.values

    @property
    def num_bytes(self) -> int:
        return self._key_buffer.nbytes + self._value_buffer.nbytes

    def reserve(self, num_tokens: int, device: torch.device | None = None) -> None:
        """Allocate buffers for `num_tokens` tokens in all and copy the present ones, to `device` if it is given."""
        length = self.get_seq_length()
        self.device = device or self._key_buffer.device
        for name in ("_key_buffer", "_value_buffer"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:2], num_tokens, old.shape[-1], device=self.device)
            new[:, :, :length] = old[:, :, :length]
            setattr(self, name, new)
        self.keys = self._key_buffer[:, :, :length]
        self.values = self._value_buffer[:, :, :length]


class GrowingCache(Cache):
    """A cache of `GrowingLayer`s, allocated for `num_tokens` tokens; it grows beyond them if needed."""

    def __init__(self, num_layers: int, num_kv_heads: int, head_dim: int, num_tokens: int, like: torch.Tensor):
        self._growing = [GrowingLayer() for _ in range(num_layers)]
        super().__init__(layers=list(self._growing))
        empty = like.new_empty(1, num_kv_heads, 0, head_dim)
        for layer in self._growing:
            layer.lazy_initialization(empty, empty)
            layer.reserve(num_tokens)

    def layer_tensors(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, (kv_heads, tokens, head_dim) each."""
        growing = self._growing[layer]
        assert growing.keys is not None
        assert growing.values is not None
        return growing.keys[0], growing.values[0]

    def copy_from(self, other: "GrowingCache", num_tokens: int) -> None:
        """Append the first `num_tokens` tokens of `other`."""
        for number, layer in enumerate(self._growing):
            keys, values = other.layer_tensors(number)
            layer.update(keys[None, :, :num_tokens], values[None, :, :num_tokens])

    def truncate(self, num_tokens: int) -> None:
        """Drop every token from position `num_tokens` on."""
        surplus = self.get_seq_length() - num_tokens
        assert surplus >= 0, f"cannot truncate a cache of {self.get_seq_length()} tokens to {num_tokens}"
        if surplus:
            self.crop(-surplus)

    def move_to(self, device: torch.device, num_tokens: int = 0) -> None:
        """Move to `device`, with room for `num_tokens` tokens if they are more than the present ones."""
        for layer in self._growing:  # one by one: only one layer takes memory on both devices at a time
            layer.reserve(max(num_tokens, layer.get_seq_length()), device)

    @property
    def num_bytes(self) -> int:
        """Bytes of all buffers, room to grow included."""
        return sum(layer.num_bytes for layer in self._growing)
