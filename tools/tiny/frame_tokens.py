"""Frame tokens for training the language model: scene codes, the vision model's output, or a mixture of both."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from longva_demo.tiny.degrade import degrade
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import Scene, cells_of
from tools.tiny.network import LANGUAGE_DIM, TOKENS_PER_FRAME, Codes, VisionModel, encode
from tools.tiny.train_vision import FrameSource

CODE_NOISE = 0.06
REDRAWN = 0.05  # share of repeated frames that are drawn and degraded again
# Scenes of a clip (None: an out-of-scope picture) → tokens (frames, 9, dim).
FramesToTokens = Callable[[Sequence[Scene | None]], Tensor]


def code_tokens(codes: Codes, noise: float, seed: int) -> FramesToTokens:
    """Scene codes as frame tokens, with some noise so that the language model does not rely on exact values."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(frames: Sequence[Scene | None]) -> Tensor:
        exact = codes.of(cells_of(list(frames)))
        return exact + noise * torch.randn(exact.shape, generator=generator)

    return tokens


class EncodedTokens:
    """Frames encoded by the vision model. A scene that stays the same is drawn and encoded once per run of frames."""

    def __init__(self, vision: VisionModel, seed: int) -> None:
        self.vision, self.rng, self.source = vision.eval(), random.Random(seed), FrameSource(seed)

    def __call__(self, frames: Sequence[Scene | None]) -> Tensor:
        drawn: list[np.ndarray] = []
        index: list[int] = []
        for at, scene in enumerate(frames):
            if at == 0 or scene is None or scene is not frames[at - 1] or self.rng.random() < REDRAWN:
                drawn.append(self.source.out_of_scope() if scene is None else draw(scene))
            index.append(len(drawn) - 1)
        if not drawn:
            return torch.zeros(0, TOKENS_PER_FRAME, LANGUAGE_DIM)
        return encode(self.vision, degrade(np.stack(drawn), self.rng))[index].clone()


class MixedTokens:
    """Scene codes for most clips, which cost nothing to compute, and encoded frames for the others."""

    def __init__(self, vision: VisionModel, seed: int, encoded_share: float) -> None:
        self.rng, self.encoded_share = random.Random(seed), encoded_share
        self.encoded, self.codes = EncodedTokens(vision, seed), code_tokens(Codes.make(), CODE_NOISE, seed)

    def __call__(self, frames: Sequence[Scene | None]) -> Tensor:
        return (self.encoded if self.rng.random() < self.encoded_share else self.codes)(frames)
