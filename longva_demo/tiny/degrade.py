"""Degrade stacks of frames as videos do: compression, scaling, gamma, noise."""

import io
import math
import random
from fractions import Fraction

import av
import numpy as np
from PIL import Image

_ACROSS = 8
_TILE = 96  # 84 pixels and a margin, in whole 16 × 16 blocks, so that frames do not bleed into each other


def _to_sheet(frames: np.ndarray) -> np.ndarray:
    rows = -(-len(frames) // _ACROSS)
    sheet = np.zeros((rows, _TILE, _ACROSS, _TILE, 3), dtype=np.uint8)
    size = frames.shape[1]
    for index, frame in enumerate(frames):
        row, column = divmod(index, _ACROSS)
        sheet[row, :size, column, :size] = frame
        sheet[row, size:, column, :size] = frame[-1]
        sheet[row, :size, column, size:] = frame[:, -1:]
    return sheet.reshape(rows * _TILE, _ACROSS * _TILE, 3)


def _from_sheet(sheet: np.ndarray, like: np.ndarray) -> np.ndarray:
    rows = sheet.shape[0] // _TILE
    tiles = sheet.reshape(rows, _TILE, _ACROSS, _TILE, 3).swapaxes(1, 2).reshape(-1, _TILE, _TILE, 3)
    return tiles[: len(like), : like.shape[1], : like.shape[2]]


def jpeg(frames: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG with 4:2:0 chroma subsampling, as in video."""
    memory = io.BytesIO()
    Image.fromarray(_to_sheet(frames)).save(memory, "JPEG", quality=quality, subsampling=2)
    return _from_sheet(np.asarray(Image.open(memory)), frames)


def rescale(frames: np.ndarray, factor: float) -> np.ndarray:
    """Downscale and upscale again."""
    sheet = Image.fromarray(_to_sheet(frames))
    small = sheet.resize((round(sheet.width * factor), round(sheet.height * factor)), Image.Resampling.BILINEAR)
    return _from_sheet(np.asarray(small.resize(sheet.size, Image.Resampling.BICUBIC)), frames)


def windowed(frames: np.ndarray, width: float, height: float) -> np.ndarray:
    """Surround with black bars: the picture fills the shares `width` × `height` of the frame, centred."""
    side = frames.shape[1]
    size = round(side * width), round(side * height)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    barred = np.zeros_like(frames)
    for frame, target in zip(frames, barred, strict=True):
        small = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        target[top : top + size[1], left : left + size[0]] = np.asarray(small)
    return barred


def tone(frames: np.ndarray, gamma: float, gain: float, lift: float) -> np.ndarray:
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip((levels - 128) * gain + 128 + lift, 0, 255).astype(np.uint8)
    return table[frames]


def h264(frames: np.ndarray, crf: int, preset: str = "ultrafast", fps: int = 10) -> np.ndarray:
    """Encode and decode with H.264, as one clip. Sides must be even.

    The same frames give the same pixels: x264's macroblock tree is off, since with it about one encoding in a hundred
    differs, even on one thread.
    """
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": "mbtree=0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as clip:
        clip.streams.video[0].codec_context.thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])


def degrade(frames: np.ndarray, rng: random.Random, group: int = 32) -> np.ndarray:
    """Degrade about half of the frames (n, 84, 84, 3) uint8, group by group."""
    parts = [_degrade_group(frames[start : start + group], rng) for start in range(0, len(frames), group)]
    return np.concatenate(parts)


def _degrade_group(frames: np.ndarray, rng: random.Random) -> np.ndarray:
    if rng.random() < 0.25:
        both, wide = rng.random() < 0.6, rng.random() < 0.5
        frames = windowed(
            frames,
            rng.uniform(0.7, 1.0) if both or not wide else 1.0,
            rng.uniform(0.7, 1.0) if both or wide else 1.0,
        )
    if rng.random() < 0.4:
        frames = tone(frames, math.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0.8, 1.12), rng.uniform(-14, 14))
    if rng.random() < 0.2:
        frames = rescale(frames, rng.uniform(0.55, 0.95))
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 9), frames.shape)
        frames = np.clip(frames + noise, 0, 255).astype(np.uint8)
    chance = rng.random()
    if chance < 0.3:
        return jpeg(frames, rng.randint(18, 90))
    if chance < 0.38:
        return h264(frames, rng.randint(14, 30))
    return frames
