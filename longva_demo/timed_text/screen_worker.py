"""Read the text in frames, in the worker: decode a frame, recognise its lines, send them."""

from typing import Any

import numpy as np

from longva_demo.parallel import available_cpus
from longva_demo.timed_text.line import clean_text
from longva_demo.video._worker.main import ParentChannel, decode_with_pyav
from longva_demo.video._worker.wire import Message
from longva_demo.video.limits import DecodeLimits

MAX_THREADS = 4
DETECTION_SCALE, MIN_LARGE_SIDE = 0.8, 1280
MIN_SCORE = 0.8  # below it, a line is more often invented than read
# Frames of which no block of pixels differs by more show the same text. Compression alone changes less.
BLOCK, MAX_DIFFERENCE = 16, 5.0
# Text, score from 0 to 1, and the box: left, top, right, bottom in pixels.
Seen = tuple[str, float, list[float]]


class FrameMemory:
    """The memory of one frame, for the decoder."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.zeros((height, width, 3), dtype=np.uint8)

    def next_buffer(self) -> np.ndarray:
        return self.pixels


def run(request: Message, payload: bytes, limits: DecodeLimits, parent: ParentChannel) -> None:
    """Send what is seen in each frame."""
    memory = FrameMemory(request["width"], request["height"])
    reader = TextReader(max(request["width"], request["height"]))
    seconds = dict(zip(request["indices"], request["seconds"], strict=True))
    before: np.ndarray | None = None
    seen: list[Seen] = []
    for index in decode_with_pyav(request, payload, limits, parent, memory, set()):
        parent.heartbeat()
        if before is None or shows_change(before, memory.pixels):
            before, seen = memory.pixels.copy(), reader.read(memory.pixels)
        parent.send({"kind": "frame", "seconds": seconds[index], "seen": seen})
    parent.send({"kind": "done"})


class TextReader:
    """RapidOCR, with the models of its wheel. Nothing is downloaded."""

    def __init__(self, longest_side: int) -> None:
        """`longest_side` is that of the frames, in pixels."""
        from rapidocr import RapidOCR

        threads = min(available_cpus(), MAX_THREADS)
        # Lines are looked for in smaller copies of large frames, and read in full size. RapidOCR enlarges small frames.
        smaller = {"Det.limit_type": "max", "Det.limit_side_len": round(DETECTION_SCALE * longest_side)}
        self._ocr: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # text upside down
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                **(smaller if longest_side >= MIN_LARGE_SIDE else {}),
            }
        )

    def read(self, pixels: np.ndarray) -> list[Seen]:
        """The lines in uint8 (height, width, 3), RGB, from top to bottom."""
        found = self._ocr(pixels[..., ::-1])  # it expects BGR
        if found.boxes is None:
            return []
        lines = zip(found.txts, found.scores, np.asarray(found.boxes), strict=True)  # boxes: (lines, 4 corners, 2)
        return [
            (text, float(score), [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()])
            for raw, score, corners in lines
            if score >= MIN_SCORE and (text := clean_text(raw))
        ]


def shows_change(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether any block of two frames, uint8 (height, width, 3), differs by more than compression does.

    Without the pixels that do not fill a block, except in frames smaller than one.
    """
    grey = np.abs(before[..., 1].astype(np.int16) - after[..., 1])  # (height, width)
    rows, columns = (max(1, size // BLOCK) for size in grey.shape)
    step_rows, step_columns = grey.shape[0] // rows, grey.shape[1] // columns
    blocks = grey[: rows * step_rows, : columns * step_columns].reshape(rows, step_rows, columns, step_columns)
    return bool(blocks.mean(axis=(1, 3)).max() > MAX_DIFFERENCE)
