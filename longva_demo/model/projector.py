"""From the vision tower to the language model: two linear layers, THEN 2 x 2 pooling. The order matters."""

import torch
from torch import nn
from torch.nn import functional


def build_projector(vision_size: int, language_size: int) -> nn.Sequential:
    """`mlp2x_gelu`: Linear, exact (erf) GELU, Linear, applied to each patch separately."""
    return nn.Sequential(nn.Linear(vision_size, language_size), nn.GELU(), nn.Linear(language_size, language_size))


def pool(tokens: torch.Tensor, stride: int = 2, mode: str = "average") -> torch.Tensor:
    """Pool each frame's square grid of patch tokens, stride x stride tokens into one.

    (frames, side * side, dim) to (frames, (side // stride) ** 2, dim): 576 to 144 tokens in LongVA-7B.
    Token (row 0, column 0) of the result comes from patches (0, 0), (0, 1), (1, 0), (1, 1).
    """
    frames, patches, dim = tokens.shape
    side = int(patches**0.5)
    assert side * side == patches, f"{patches} patches do not form a square"
    square = tokens.reshape(frames, side, side, dim).permute(0, 3, 1, 2)  # (frames, dim, side, side)
    pooling = functional.max_pool2d if mode == "max" else functional.avg_pool2d
    return pooling(square, stride).flatten(2).transpose(1, 2)  # (frames, tokens, dim)
