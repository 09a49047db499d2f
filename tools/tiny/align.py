"""Align a language model with pictures, as the second stage of LongVA does: UniRes pictures and text, never two frames.

A picture is cut into grids, and a grid is to the language model what a frame of a video is. A *collage* is one picture
that shows several scenes in rows and columns, one in each of its grids.
"""

import copy
import io
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn

from longva_demo.tiny.clips import Episode
from longva_demo.tiny.degrade import tone
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import Scene
from longva_demo.unires import split_image
from tools.tiny.episodes import EpisodeKind, EpisodeSource, Mixture
from tools.tiny.frame_tokens import MixedTokens
from tools.tiny.network import IMAGE_SIZE, LANGUAGE_DIM, VisionModel, build_language_model, encode
from tools.tiny.optim import Optimiser
from tools.tiny.text import Encoder
from tools.tiny.train_language_model import answer_loss, positions
from tools.tiny.train_vision import SAVE_SECONDS, save

MAX_GRIDS = 49  # as in the paper
SCENES_PER_BATCH = 150
GRIDS = (2, 4, 6, 9, 12, 16, 25, 36, MAX_GRIDS)
COLLAGES: Mixture = {
    f"collage of {grids}": EpisodeKind(1.0, max(1, min(16, SCENES_PER_BATCH // grids)), (grids,), needles=6, skips=0.0)
    for grids in GRIDS
}


@dataclass(frozen=True)
class Alignment:
    """One run. Each step draws a batch from every mixture; the losses are added.

    lr: learning rate of the language model, 0 to freeze it. adapter_lr: that of the projector's last layer.
    encoded_share: share of pictures that the vision model encodes; the others are scene codes.
    """

    after: str
    mixtures: tuple[Mixture, ...]
    steps: int
    seed: int
    lr: float
    adapter_lr: float
    encoded_share: float
    decay_share: float = 0.7
    isolated_share: float = 0.7


def as_collage(episode: Episode) -> Episode:
    """Frames → one picture: the whole (None), then its grids."""
    return replace(episode, frames=(None, *episode.frames)) if episode.frames else episode


def draw_collage(tiles: Sequence[np.ndarray]) -> Image.Image:
    """Tiles (side, side, 3) in rows of equal length, as square as their number allows."""
    rows = next(rows for rows in range(math.isqrt(len(tiles)), 0, -1) if len(tiles) % rows == 0)
    side = tiles[0].shape[0]
    sheet = np.stack(tiles).reshape(rows, -1, side, side, 3).swapaxes(1, 2).reshape(rows * side, -1, 3)
    return Image.fromarray(sheet)


class PictureTokens:
    """Pictures as tokens: scene codes or, for a share of them, drawn, cut by UniRes and encoded."""

    def __init__(self, vision: VisionModel, seed: int, encoded_share: float) -> None:
        self.vision, self.rng, self.encoded_share = vision.eval(), random.Random(seed), encoded_share
        self.mixed = MixedTokens(vision, seed, encoded_share)

    def __call__(self, frames: Sequence[Scene | None]) -> Tensor:
        if len(frames) < 2:
            return self.mixed(frames)
        if self.rng.random() < self.encoded_share:
            return encode(self.vision, self._cut(frames[1:]))
        return self.mixed.codes(frames)

    def _cut(self, scenes: Sequence[Scene | None]) -> np.ndarray:
        """(1 + grids, 84, 84, 3) uint8."""
        out_of_scope = self.mixed.encoded.source.out_of_scope
        picture = draw_collage([out_of_scope() if scene is None else draw(scene) for scene in scenes])
        return split_image(self._degrade(picture), IMAGE_SIZE, [picture.size])

    def _degrade(self, picture: Image.Image) -> Image.Image:
        """Tone and JPEG, as `degrade` does, on the whole picture."""
        uniform = self.rng.uniform
        if self.rng.random() < 0.4:
            toned = tone(np.asarray(picture), math.exp(uniform(-0.6, 0.6)), uniform(0.8, 1.12), uniform(-14, 14))
            picture = Image.fromarray(toned)
        if self.rng.random() < 0.4:
            memory = io.BytesIO()
            picture.save(memory, "JPEG", quality=self.rng.randint(18, 90))
            picture = Image.open(memory)
        return picture


def new_adapter() -> nn.Linear:
    """A linear map from the projector's output to the language model, which starts as the identity."""
    adapter = nn.Linear(LANGUAGE_DIM, LANGUAGE_DIM)
    nn.init.eye_(adapter.weight)
    nn.init.zeros_(adapter.bias)
    return adapter


def aligned_vision(folder: Path, name: str, vision: VisionModel) -> VisionModel:
    """The vision model with the adapter of `{name}.pt` in its projector: average pooling and a linear map commute."""
    adapter = torch.load(folder / f"{name}.pt", weights_only=True)["adapter"]
    aligned = copy.deepcopy(vision)
    last = aligned.projector[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.copy_(adapter["weight"] @ last.bias + adapter["bias"])
        last.weight.copy_(adapter["weight"] @ last.weight)
    return aligned


def align(
    folder: Path,
    name: str,
    stage: Alignment,
    tokenizer: Tokenizer,
    vision: VisionModel,
    start_from: dict[str, Tensor],
    steps: int | None = None,
) -> Path:
    """Train, saving `{name}.pt` into `folder` every two minutes. An existing checkpoint is resumed.

    steps: replaces the number of steps of the stage."""
    torch.manual_seed(stage.seed)
    steps = steps or stage.steps
    encoder = Encoder(tokenizer)
    num_layers = sum(key.endswith("input_layernorm.weight") for key in start_from)
    model = build_language_model(tokenizer.get_vocab_size(), encoder.end, encoder.pad, num_layers)
    model.load_state_dict(start_from)
    model.requires_grad_(stage.lr > 0)
    adapter = new_adapter()
    optimisers = [Optimiser([adapter], stage.adapter_lr, steps, stage.decay_share)]
    if stage.lr:
        optimisers.append(Optimiser([model], stage.lr, steps, stage.decay_share, vector_share=0.5))
    path = folder / f"{name}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["language_model"])
        adapter.load_state_dict(saved["adapter"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
    done = optimisers[0].done
    sources = [
        EpisodeSource(stage.seed + 1_000_003 * done + index, mixture) for index, mixture in enumerate(stage.mixtures)
    ]
    to_tokens = PictureTokens(vision, stage.seed + done, stage.encoded_share)
    begin, saved_at = time.time(), time.time()
    averages: dict[str, float] = {}
    while optimisers[0].done < steps:
        for source in sources:
            label, episodes = source.episodes()
            if label.startswith("collage"):
                episodes = [as_collage(episode) for episode in episodes]
            batch = encoder.batch(episodes, isolated=source.rng.random() < stage.isolated_share)
            tokens = adapter(torch.cat([to_tokens(episode.frames) for episode in episodes]))
            loss, right = answer_loss(model, batch, tokens, positions(source.rng, batch, source.mixture[label].skips))
            loss.backward()
            kind, value = label.split()[0], float(right.float().mean())
            averages[kind] = 0.95 * averages.get(kind, value) + 0.05 * value
        for optimiser in optimisers:
            optimiser.step()
        done = optimisers[0].done
        if done % 20 == 0:
            text = ", ".join(f"{kind} {value:.2f}" for kind, value in averages.items())
            print(f"{name} {done}/{steps} {time.time() - begin:.0f} s, right tokens: {text}", flush=True)
        if time.time() - saved_at > SAVE_SECONDS or done == steps:
            state = {"language_model": model.state_dict(), "adapter": adapter.state_dict()}
            save(path, state | {"optimisers": [optimiser.state_dict() for optimiser in optimisers]})
            saved_at = time.time()
    return path
