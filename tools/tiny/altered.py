"""Corruptions of scenes, as videos have them: kinds that training did not use, or not as strongly."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageFont

from longva_demo.tiny.degrade import h264, tone, windowed
from longva_demo.tiny.draw import Strip, draw, drawn_with
from longva_demo.tiny.scenes import Scene
from tools.tiny.make_glyphs import sized, strip_of

SIDE = 336
# From matplotlib, a dependency of the needle test: serif, sans serif and monospace fonts that training did not use.
HELD_OUT_FONTS = ("STIXGeneralBol.ttf", "cmss10.ttf", "cmtt10.ttf")
SMALLER = 0.75
WINDOW = 0.8


@dataclass(frozen=True)
class Alteration:
    """How a scene becomes a frame: drawn, changed, compressed with H.264."""

    change: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
    side: int = SIDE
    crf: int = 24
    scene: Callable[[Scene], Scene] = lambda scene: scene
    fonts: Callable[[], AbstractContextManager[None]] = nullcontext

    def frame(self, scene: Scene) -> np.ndarray:
        """uint8 (1, height, width, 3)."""
        with self.fonts():
            picture = self.change(draw(self.scene(scene), self.side))
        return h264(picture[None], self.crf, preset="veryfast")


def in_wide_frame(picture: np.ndarray) -> np.ndarray:
    """A square picture with black bars at its sides, 16:9."""
    side = picture.shape[0]
    wide = np.zeros((side, side * 16 // 9 // 2 * 2, 3), np.uint8)
    left = (wide.shape[1] - side) // 2
    wide[:, left : left + side] = picture
    return wide


def held_out_fonts() -> AbstractContextManager[None]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    strips: list[Strip] = [strip_of(sized(ImageFont.truetype(str(folder / name), 80))) for name in HELD_OUT_FONTS]
    return drawn_with(strips)


ALTERATIONS: dict[str, Alteration] = {
    "very low bit rate": Alteration(crf=40),
    "144 pixels high": Alteration(side=144),
    "1,080 pixels high": Alteration(side=1080),
    "black bars on all sides": Alteration(lambda picture: windowed(picture[None], WINDOW, WINDOW)[0]),
    "black bars left and right": Alteration(in_wide_frame),
    "darker (gamma 1.8)": Alteration(lambda picture: tone(picture, 1.8, 1.0, 0.0)),
    "lighter (gamma 0.55)": Alteration(lambda picture: tone(picture, 0.55, 1.0, 0.0)),
    "things 25% smaller": Alteration(scene=lambda scene: scene.shrunk(SMALLER)),
    "other fonts": Alteration(fonts=held_out_fonts),
}


def each_alteration(rng: random.Random) -> Iterator[tuple[str, Alteration, random.Random]]:
    """Every kind with a random generator of the same seed, so that all kinds get the same scenes."""
    seed = rng.random()
    for name, alteration in ALTERATIONS.items():
        yield name, alteration, random.Random(seed)
