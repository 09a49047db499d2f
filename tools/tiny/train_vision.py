"""Train the vision tower and projector: single frame → scene code of each cell. No language is involved."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longva_demo.tiny.degrade import degrade
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import FACTORS, Cells, Mix, Scene, cells_of, random_scene
from tools.tiny.hard_negatives import draw_hard_negative
from tools.tiny.network import IMAGE_SIZE, Codes, VisionModel, is_out_of_scope, to_pixels
from tools.tiny.optim import Optimiser
from tools.tiny.out_of_scope import draw_out_of_scope

LOGIT_SCALE = 3.0
BATCH = 128
SAVE_SECONDS = 120


@dataclass(frozen=True)
class FrameMix:
    """Which frames the vision model is trained on.

    out_of_scope: share of frames that are out of scope; hard_negatives: share of these that resemble scenes.
    shrunk: share of scenes in which everything is smaller; large: share of large ones among things alone in a scene.
    counts: weights of 0, 1, … 8 things in a scene; bare: share of things that are a symbol without a shape.
    """

    out_of_scope: float = 0.1
    hard_negatives: float = 0.0
    shrunk: float = 0.35
    large: float = 0.3
    counts: tuple[float, ...] = (0.03, 0.12, 0.12, 0.15, 0.18, 0.16, 0.12, 0.07, 0.05)
    bare: float = 0.12


class FrameSource:
    """Endless frames with their ground truth. The same seed gives the same frames."""

    def __init__(self, seed: int, mix: FrameMix = FrameMix()) -> None:
        self.rng, self.mix = random.Random(seed), mix
        self.bank: list[np.ndarray] = []

    def out_of_scope(self) -> np.ndarray:
        """An out-of-scope picture: mostly an earlier one, rotated or mirrored, since new ones are slow to draw."""
        if len(self.bank) < 300 or self.rng.random() < 0.1:
            is_hard = self.mix.hard_negatives and self.rng.random() < self.mix.hard_negatives
            picture = draw_hard_negative(self.rng, IMAGE_SIZE) if is_hard else draw_out_of_scope(self.rng)
            if len(self.bank) >= 1500:
                self.bank[self.rng.randrange(len(self.bank))] = picture
            else:
                self.bank.append(picture)
            return picture
        picture = np.rot90(self.rng.choice(self.bank), self.rng.randrange(4))
        return picture[:, ::-1] if self.rng.random() < 0.5 else picture

    def batch(self, size: int, progress: float) -> tuple[np.ndarray, Cells]:
        """`size` frames (size, 84, 84, 3). At progress 0 things are near the centres of their cells, later anywhere."""
        spread = 0.2 + 0.7 * min(1.0, progress / 0.3)
        scenes: list[Scene | None] = []
        frames: list[np.ndarray] = []
        for _ in range(size):
            chance = self.rng.random()
            if chance < self.mix.out_of_scope:
                scenes.append(None)
                frames.append(self.out_of_scope())
                continue
            mix = Mix(
                count_weights=self.mix.counts if chance < 0.75 else (0.2, 0.4, 0.25, 0.15),
                symbol_share=0.7,
                bare_share=self.mix.bare,
                word_share=0.25 if chance < 0.75 else 1.0,
                spread=spread,
                large_share=self.mix.large,
            )
            scene = random_scene(self.rng, mix)
            if self.rng.random() < self.mix.shrunk:
                scene = scene.shrunk(self.rng.uniform(0.65, 1.0))
            scenes.append(scene)
            frames.append(draw(scene))
        return degrade(np.stack(frames), self.rng), cells_of(scenes)


def loss_of(features: Tensor, cells: Cells, codes: Codes) -> tuple[Tensor, dict[str, float]]:
    """Squared distance to the scene code, plus cross-entropy of each factor with the code vectors as classifier.

    Returns the loss, and the accuracy by factor over the cells that contain the factor.
    """
    target = codes.of(cells)
    loss = 0.1 * (features - target).square().sum(-1).mean()
    values = torch.from_numpy(cells.values)
    in_scope = ~is_out_of_scope(values)
    right: dict[str, float] = {}
    for index, (name, count) in enumerate(FACTORS.items()):
        logits = LOGIT_SCALE * (features @ codes.tables[name].T)  # (frames, 9, values)
        truth = values[..., index]
        if name == "background":
            loss = loss + functional.cross_entropy(logits.flatten(0, 1), truth.flatten())
            right[name] = float((logits.mean(1).argmax(-1) == truth[:, 0]).float().mean())
            continue
        each = functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").view_as(truth)
        present = (truth != count - 1) & in_scope[:, None]
        loss = loss + 0.5 * each[~present].mean()
        if present.any():  # the mean over a batch without words would be NaN
            loss = loss + each[present].mean()
            right[name] = float((logits.argmax(-1) == truth)[present].float().mean())
    return loss, right


def train_vision(
    folder: Path,
    name: str,
    steps: int,
    seed: int,
    lr: float = 2.5e-3,
    batch: int = BATCH,
    resume: bool = True,
    start_from: VisionModel | None = None,
    decay_share: float = 0.4,
    mix: FrameMix = FrameMix(),
) -> Path:
    """Train, saving `{name}.pt` into `folder` every two minutes. An existing checkpoint is resumed."""
    torch.manual_seed(seed)
    vision, codes = VisionModel(), Codes.make()
    optimiser = Optimiser([vision], lr, steps, decay_share)
    path = folder / f"{name}.pt"
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        vision.load_state_dict(saved["vision"])
        optimiser.load_state_dict(saved["optimiser"])
    elif start_from is not None:
        vision.load_state_dict(start_from.state_dict())
    source = FrameSource(seed + 1_000_003 * optimiser.done, mix)
    run = torch.compile(vision) if steps > 50 else vision
    begin, saved_at = time.time(), time.time()
    averages: dict[str, float] = {}
    while optimiser.done < steps:
        frames, cells = source.batch(batch, 1.0 if start_from else optimiser.done / steps)
        loss, right = loss_of(run(to_pixels(frames)), cells, codes)
        loss.backward()
        optimiser.step()
        for what, value in {"loss": float(loss.detach()), **right}.items():
            averages[what] = 0.95 * averages.get(what, value) + 0.05 * value
        if optimiser.done % 25 == 0:
            scores = " ".join(f"{what} {value:.3f}" for what, value in averages.items())
            print(f"{name} {optimiser.done}/{steps} {time.time() - begin:.0f} s {scores}", flush=True)
        if time.time() - saved_at > SAVE_SECONDS or optimiser.done == steps:
            save(path, {"vision": vision.state_dict(), "optimiser": optimiser.state_dict()})
            saved_at = time.time()
    return path


def save(path: Path, state: dict[str, object]) -> None:
    """Write to a temporary file and rename it, so that nobody loads an incomplete checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
