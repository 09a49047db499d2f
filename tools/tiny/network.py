"""The bundled model's architecture, its scene codes, and how its parts are built for training.

The vision model (CLIP tower and projector) is trained to output a *scene code* for each cell: a sum of fixed vectors,
one for each factor of the cell's ground truth. So the language model (Qwen2) can be trained on codes before the vision
model is finished, and later vision models fit an earlier language model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from longva_demo.tiny.scenes import FACTORS, GRID, OUT_OF_SCOPE, Cells

IMAGE_SIZE, PATCH_SIZE, POOL = 84, 14, 2
TOKENS_PER_FRAME = GRID * GRID
CONTEXT_LENGTH = 32768
LANGUAGE_DIM = 128
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
CODE_NORM = 2.0

VISION: dict[str, Any] = {
    "hidden_size": 160,
    "intermediate_size": 640,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "hidden_act": "quick_gelu",
    "projection_dim": 64,
}
LANGUAGE: dict[str, Any] = {
    "hidden_size": LANGUAGE_DIM,
    "intermediate_size": 384,
    "num_hidden_layers": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT_LENGTH,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
ROPE_THETA = 1_000_000_000.0


class VisionModel(nn.Module):
    """CLIP tower, projector and 2 × 2 average pooling, as `longva_demo.model` computes them, with gradients."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(CLIPVisionConfig(**VISION))
        wide = VISION["hidden_size"]
        assert isinstance(wide, int)
        self.projector = nn.Sequential(nn.Linear(wide, LANGUAGE_DIM), nn.GELU(), nn.Linear(LANGUAGE_DIM, LANGUAGE_DIM))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (frames, 3, 84, 84) in 0…1 → (frames, 9, dim). The tower's last layer is unused and skipped."""
        hidden = self.tower.embeddings((pixels - self.mean) / self.std)
        hidden = self.tower.pre_layrnorm(hidden)
        for layer in self.tower.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        projected = self.projector(hidden[:, 1:])  # (frames, 36, dim)
        side = IMAGE_SIZE // PATCH_SIZE
        grid = projected.view(-1, side // POOL, POOL, side // POOL, POOL, LANGUAGE_DIM)
        return grid.mean((2, 4)).flatten(1, 2)  # (frames, 9, dim)


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (frames, 84, 84, 3) → float32 (frames, 3, 84, 84) in 0…1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().div_(255)


@torch.inference_mode()
def encode(vision: VisionModel, frames: np.ndarray, batch: int = 128) -> Tensor:
    """uint8 frames → features (frames, 9, dim) as float32, without gradients."""
    parts = [vision(to_pixels(frames[start : start + batch])) for start in range(0, len(frames), batch)]
    return torch.cat(parts) if parts else torch.zeros(0, TOKENS_PER_FRAME, LANGUAGE_DIM)


@dataclass(frozen=True)
class Codes:
    """Fixed orthogonal vectors: one per value of each factor, two for the offset within a cell, nine for the cell."""

    tables: dict[str, Tensor]  # name: (values, dim)
    offset: Tensor  # (2, dim)
    place: Tensor  # (9, dim)

    @classmethod
    def make(cls, seed: int = 7) -> "Codes":
        generator = torch.Generator().manual_seed(seed)
        basis, _ = torch.linalg.qr(torch.randn(LANGUAGE_DIM, LANGUAGE_DIM, generator=generator))
        basis = basis * CODE_NORM
        tables, start = {}, 0
        for name, count in FACTORS.items():
            tables[name] = basis[start : start + count]
            start += count
        offset, place = basis[start : start + 2], basis[start + 2 : start + 2 + TOKENS_PER_FRAME]
        assert start + 2 + TOKENS_PER_FRAME <= LANGUAGE_DIM
        return cls(tables, offset, place)

    def of(self, cells: Cells) -> Tensor:
        """Codes (frames, 9, dim) of the ground truth."""
        values = torch.from_numpy(cells.values)
        total = self.place + torch.from_numpy(cells.offsets) @ self.offset
        for index, table in enumerate(self.tables.values()):
            total = total + table[values[..., index]]
        return total


def is_out_of_scope(values: Tensor) -> Tensor:
    """(frames,) bool: which frames are out of scope."""
    return values[:, 0, -1] == OUT_OF_SCOPE


def build_language_model(
    vocab_size: int, eos_token_id: int, pad_token_id: int, num_layers: int = LANGUAGE["num_hidden_layers"]
) -> Qwen2ForCausalLM:
    """A new Qwen2 of the bundled size, with tied embeddings."""
    config = Qwen2Config(
        **{**LANGUAGE, "num_hidden_layers": num_layers},
        vocab_size=vocab_size,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        eos_token_id=eos_token_id,
        pad_token_id=None,
        bos_token_id=pad_token_id,
        attn_implementation="sdpa",  # type: ignore[call-arg]
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:  # Qwen2's own 0.02 suits wider matrices
            nn.init.normal_(parameter, std=0.1 if "embed_tokens" in name else 0.04)
    return model


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
