"""Haystacks: frames without the needle, encoded once into a memory-mapped file."""

import os
import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from longva_demo.chat import LocalEngine, Progress, Stage
from longva_demo.errors import DemoError, VideoError
from longva_demo.tiny.clips import haystack
from longva_demo.tiny.degrade import h264
from longva_demo.tiny.draw import draw
from longva_demo.tiny.scenes import SHAPES, Scene
from longva_demo.video import DecodeLimits, FramePlan, VideoInfo, decode_frames, plan_frames, probe

DRAWN_SIDE = 168
DRAWN_CHUNK = 250
DRAWN_FRAMES = 3000
DRAWN_VERSION = 2  # increment if the same seed gives different pixels, so that results are not mixed
SPACINGS = ("second", "budget")


class Haystack:
    """Features of frames (frames, tokens_per_frame, dim), in the order of the video.

    They are kept in a file: 3,000 frames of LongVA-7B are 3.1 GB in bf16.
    """

    def __init__(self, engine: LocalEngine, num_frames: int, folder: Path) -> None:
        self.num_frames = num_frames
        self._engine = engine
        self._file = folder / "haystack.bin"
        self._features: torch.Tensor | None = None

    def fill(self, frames: Iterator[np.ndarray]) -> Iterator[Progress]:
        """Encode batches of frames, uint8 (frames, height, width, 3).

        Raises:
            VideoError: there are fewer frames than expected.
            DemoError: the disk is too small for the features.
        """
        done = 0
        for batch in frames:
            features = encode(self._engine, batch)
            if self._features is None:
                shape = (self.num_frames, *features.shape[1:])
                reserve(self._file, int(np.prod(shape)) * features.element_size())
                flat = torch.from_file(str(self._file), shared=True, size=int(np.prod(shape)), dtype=features.dtype)
                self._features = flat.view(shape)
            self._features[done : done + len(features)] = features.cpu()
            done += len(features)
            yield Progress(Stage.ENCODING, done, self.num_frames)
        if done < self.num_frames:
            raise VideoError(f"only {done:,} of {self.num_frames:,} frames could be decoded", "try another video")

    def __getitem__(self, frames: slice) -> torch.Tensor:
        assert self._features is not None, "call fill() first"
        return self._features[frames]


def reserve(file: Path, num_bytes: int) -> None:
    """Allocate the file's disk space up front: a process is killed if the disk fills up under a memory-mapped file.

    Raises:
        DemoError: the disk is too small.
    """
    try:
        with file.open("wb") as opened:
            if hasattr(os, "posix_fallocate"):  # missing on macOS
                os.posix_fallocate(opened.fileno(), 0, num_bytes)
    except OSError as error:
        raise DemoError(
            f"the haystack needs {num_bytes / 1e6:,.0f} MB in {file.parent.parent} ({error.strerror or error})",
            "free some space, or set TMPDIR to another folder",
        ) from error


def encode(engine: LocalEngine, frames: np.ndarray) -> torch.Tensor:
    """Features (frames, tokens_per_frame, dim) of frames of any size, uint8 (frames, height, width, 3).

    As in the published test, frames are padded to a square, so that no part of a needle is cropped.
    """
    colour = [int(255 * part) for part in engine.processor.mean]
    return engine.encode_frames(engine.processor.preprocess_frames(pad_to_square(frames, colour)))


def pad_to_square(frames: np.ndarray, colour: list[int]) -> np.ndarray:
    """Centre frames (frames, height, width, 3) in squares of one colour."""
    count, height, width, _ = frames.shape
    if height == width:
        return frames
    side = max(height, width)
    square = np.empty((count, side, side, 3), np.uint8)
    square[:] = np.array(colour, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = frames
    return square


def drawn_frames(num_frames: int, seed: int = 0, without: Collection[int] = ()) -> Iterator[np.ndarray]:
    """Scenes without a number, compressed with H.264. The same seed gives the same frames.

    A shorter haystack is the start of a longer one. `without`: shapes that are left out.
    """
    scenes = haystack(random.Random(f"niah haystack {seed}"), max(num_frames, DRAWN_FRAMES))[:num_frames]
    if without:
        scenes = leave_out(scenes, without)
    for first in range(0, num_frames, DRAWN_CHUNK):
        pictures: list[np.ndarray] = []
        some = scenes[first : first + DRAWN_CHUNK]
        for number, scene in enumerate(some):
            pictures.append(pictures[-1] if number and scene is some[number - 1] else draw(scene, DRAWN_SIDE))
        yield h264(np.stack(pictures), 24, preset="veryfast", fps=25)


def leave_out(scenes: Sequence[Scene], shapes: Collection[int]) -> list[Scene]:
    """The scenes without things of these shapes. Frames that showed one scene still do."""
    cleaned = {id(scene): scene.with_things(*(t for t in scene.things if t.shape not in shapes)) for scene in scenes}
    return [cleaned[id(scene)] for scene in scenes]


def drawn_name(seed: int, without: Collection[int] = ()) -> str:
    """The name of a drawn haystack, for its results."""
    lacking = f", without {' and '.join(SHAPES[shape] for shape in without)}" if without else ""
    return f"drawn, version {DRAWN_VERSION}, seed {seed}{lacking}"


def plan_haystack(info: VideoInfo, num_frames: int, spacing: str) -> FramePlan:
    """The frames of the haystack: one per second from the start (as published), or evenly spaced over the whole video.

    Raises:
        VideoError: the video has too few frames.
    """
    if spacing == "budget":
        plan = plan_frames(info, num_frames)
    else:
        indices = np.arange(0, info.num_frames, max(1, round(info.fps)))[:num_frames]
        seconds = info.frame_seconds[indices]
        plan = FramePlan(tuple(indices.tolist()), tuple(seconds.tolist()), 0.0, info.duration_seconds)
    if plan.num_frames < num_frames:
        available = f"{plan.num_frames:,} frames" + (" at one per second" if spacing == "second" else "")
        raise VideoError(
            f"{info.path.name} has {available}, but the largest haystack needs {num_frames:,}",
            "use a longer video, smaller haystacks (--frames), or --spacing budget",
        )
    return plan


def video_frames(path: Path, num_frames: int, spacing: str, limits: DecodeLimits) -> Iterator[np.ndarray]:
    """Frames of a video, decoded batch by batch. Errors of the video are raised before the first batch."""
    if spacing not in SPACINGS:
        raise DemoError(f"{spacing!r} is not a valid spacing", f"use {' or '.join(SPACINGS)}")
    info = probe(path, limits)
    plan = plan_haystack(info, num_frames, spacing)
    return (batch.pixels for batch in decode_frames(path, plan, info=info, limits=limits) if len(batch))
