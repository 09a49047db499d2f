"""Stage 1, the eyes: single frames → what each cell shows. No language is involved."""

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
from tools.tiny.network import IMAGE_SIZE, Codes, Eyes, is_outside, to_pixels
from tools.tiny.optim import Optimiser
from tools.tiny.outside import draw_outside
from tools.tiny.outside_near import draw_near

LOGIT_SCALE = 3.0
BATCH = 128


@dataclass(frozen=True)
class Frames:
    """What the eyes are shown.

    outside: of the frames, those from outside the world; near: of these, those that come near it.
    smaller: of the scenes, those whose things are all smaller; large: of things alone in their picture, the large ones.
    counts: how often 0, 1, … 8 things; bare: of the things, the symbols without a shape.
    """

    outside: float = 0.1
    near: float = 0.0
    smaller: float = 0.35
    large: float = 0.3
    counts: tuple[float, ...] = (0.03, 0.12, 0.12, 0.15, 0.18, 0.16, 0.12, 0.07, 0.05)
    bare: float = 0.12


class FrameSource:
    """Endless frames with their truth; the same seed gives the same frames."""

    def __init__(self, seed: int, shown: Frames = Frames()) -> None:
        self.rng, self.shown = random.Random(seed), shown
        self.bank: list[np.ndarray] = []

    def outside(self) -> np.ndarray:
        """A picture from outside the world: often one seen before, turned or mirrored, since they are slow to draw."""
        if len(self.bank) < 300 or self.rng.random() < 0.1:
            near = self.shown.near and self.rng.random() < self.shown.near
            picture = draw_near(self.rng, IMAGE_SIZE) if near else draw_outside(self.rng)
            if len(self.bank) >= 1500:
                self.bank[self.rng.randrange(len(self.bank))] = picture
            else:
                self.bank.append(picture)
            return picture
        picture = np.rot90(self.rng.choice(self.bank), self.rng.randrange(4))
        return picture[:, ::-1] if self.rng.random() < 0.5 else picture

    def batch(self, size: int, progress: float) -> tuple[np.ndarray, Cells]:
        """`size` frames (size, 84, 84, 3). Things lie near their cells' centres at progress 0, and anywhere later."""
        spread = 0.2 + 0.7 * min(1.0, progress / 0.3)
        scenes: list[Scene | None] = []
        frames: list[np.ndarray] = []
        for _ in range(size):
            lot = self.rng.random()
            if lot < self.shown.outside:
                scenes.append(None)
                frames.append(self.outside())
                continue
            mix = Mix(
                count_weights=self.shown.counts if lot < 0.75 else (0.2, 0.4, 0.25, 0.15),
                symbol_share=0.7,
                bare_share=self.shown.bare,
                word_share=0.25 if lot < 0.75 else 1.0,
                spread=spread,
                large_share=self.shown.large,
            )
            scene = random_scene(self.rng, mix)
            if self.rng.random() < self.shown.smaller:
                scene = scene.shrunk(self.rng.uniform(0.65, 1.0))
            scenes.append(scene)
            frames.append(draw(scene))
        return degrade(np.stack(frames), self.rng), cells_of(scenes)


def loss_of(features: Tensor, cells: Cells, codes: Codes) -> tuple[Tensor, dict[str, float]]:
    """Distance to the scene code, and cross-entropy of each factor read off with the code's own vectors.

    Returns the loss and the share of right answers by factor, over the cells where there is something to say.
    """
    target = codes.of(cells)
    loss = 0.1 * (features - target).square().sum(-1).mean()
    values = torch.from_numpy(cells.values)
    inside = ~is_outside(values)
    right: dict[str, float] = {}
    for index, (name, count) in enumerate(FACTORS.items()):
        logits = LOGIT_SCALE * (features @ codes.tables[name].T)  # (frames, 9, values)
        truth = values[..., index]
        if name == "background":
            loss = loss + functional.cross_entropy(logits.flatten(0, 1), truth.flatten())
            right[name] = float((logits.mean(1).argmax(-1) == truth[:, 0]).float().mean())
            continue
        each = functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").view_as(truth)
        something = (truth != count - 1) & inside[:, None]
        loss = loss + 0.5 * each[~something].mean()
        if something.any():  # a batch without any word would give NaN
            loss = loss + each[something].mean()
            right[name] = float((logits.argmax(-1) == truth)[something].float().mean())
    return loss, right


def train_eyes(
    folder: Path,
    name: str,
    steps: int,
    seed: int,
    lr: float = 2.5e-3,
    batch: int = BATCH,
    resume: bool = True,
    start_from: Eyes | None = None,
    decay_share: float = 0.4,
    shown: Frames = Frames(),
) -> Path:
    """Train, writing `{name}.pt` into `folder` every few minutes; continues from it if it is there."""
    torch.manual_seed(seed)
    eyes, codes = Eyes(), Codes.make()
    optimiser = Optimiser([eyes], lr, steps, decay_share)
    path = folder / f"{name}.pt"
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        eyes.load_state_dict(saved["eyes"])
        optimiser.load_state_dict(saved["optimiser"])
    elif start_from is not None:
        eyes.load_state_dict(start_from.state_dict())
    source = FrameSource(seed + 1_000_003 * optimiser.done, shown)
    run = torch.compile(eyes) if steps > 50 else eyes
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
            line = " ".join(f"{what} {value:.3f}" for what, value in averages.items())
            print(f"{name} {optimiser.done}/{steps} {time.time() - begin:.0f} s {line}", flush=True)
        if time.time() - saved_at > 120 or optimiser.done == steps:
            save(path, {"eyes": eyes.state_dict(), "optimiser": optimiser.state_dict()})
            saved_at = time.time()
    return path


def save(path: Path, state: dict[str, object]) -> None:
    """Write beside and move over, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    beside.replace(path)
