"""The cost of prefill as a function of the number of tokens T, fitted as a·T + b·T².

LongVA-7B's operations are counted from shapes alone (PyTorch's meta device: no weights, no memory). The bundled
model's seconds are measured. Run it with `python -m bench.cost`.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import rows
from bench.clips import write_clip
from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
from longva_demo.chat.kv_cache import GrowingCache
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES
from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe

FORMULA = (13.05e9, 200_704)  # FLOP of LongVA-7B per token, and per token squared
COUNTED_FRAMES = (1, 8, 64, 512, 1555)
TIMED_FRAMES = (125, 250, 500, 1000, 1500, 2000)
MATRIX_OPERATIONS = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)  # attention without a fused kernel
RUNS = 3
TARGETS = (4.0, 15.0)  # for the bundled model: CPU ms to encode a frame, seconds to prefill 2,000 frames


def fit(tokens: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Fit a·T + b·T² by least relative squares. Returns a, b and the largest relative deviation.

    >>> a, b, deviation = fit([1, 2, 4], [5, 14, 44])
    >>> round(a, 6), round(b, 6), round(deviation, 6)
    (3.0, 2.0, 0.0)
    """
    sizes, values = np.array(tokens, float), np.array(costs, float)
    shares = np.stack([sizes, sizes**2], axis=1) / values[:, None]
    scale = shares.max(axis=0)  # the columns differ by orders of magnitude
    (a, b), *_ = np.linalg.lstsq(shares / scale, np.ones(len(values)))
    a, b = a / scale[0], b / scale[1]
    return float(a), float(b), float(np.abs((a * sizes + b * sizes**2) / values - 1).max())


def counted_flop(model: LongVAForConditionalGeneration, num_tokens: int) -> int:
    """FLOP of one prefill of `num_tokens`, counting only the causal half of attention.

    PyTorch counts the full square, as if every token attended to all others.
    """
    config = model.config
    heads = config.num_key_value_heads or config.num_attention_heads
    like = torch.empty(0, dtype=torch.bfloat16, device="meta")
    cache = GrowingCache(config.num_hidden_layers, heads, config.head_size, num_tokens, like)
    embeds = like.new_empty(1, num_tokens, config.hidden_size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    counts = counter.get_flop_counts()["Global"]
    attention = sum(counts.get(operation, 0) for operation in MATRIX_OPERATIONS)
    return counter.get_total_flops() - attention // 2


def count() -> None:
    config = LongVAConfig()
    with torch.device("meta"):
        model = LongVAForConditionalGeneration(config).bfloat16().eval()
    tokens = [frames * config.tokens_per_frame for frames in COUNTED_FRAMES]
    flops = [counted_flop(model, number) for number in tokens]
    print("LongVA-7B, counted from shapes\n\n| frames | tokens | TFLOP counted | TFLOP by formula |\n|---|---|---|---|")
    for frames, number, flop in zip(COUNTED_FRAMES, tokens, flops, strict=True):
        expected = FORMULA[0] * number + FORMULA[1] * number**2
        print(f"| {frames:,} | {number:,} | {flop / 1e12:,.2f} | {expected / 1e12:,.2f} |")
    a, b, deviation = fit(tokens, flops)
    print(f"\nfit: {a:.6g}·T + {b:.6g}·T², maximum error {deviation:.1e}\n")
    what = "FLOP to prefill T tokens, LongVA-7B"
    rows.add(
        what,
        "13.05e9·T + 200,704·T² (formula)",
        f"{a / 1e9:.2f}e9·T + {b:,.0f}·T² (counted and fitted)",
        f"{FORMULA[0] / a:.4f} and {FORMULA[1] / b:.4f}",
    )


def seconds_to_prefill(engine: LocalEngine, path: Path, num_frames: int) -> tuple[int, float]:
    """Tokens and seconds of a prefill, with the frames decoded beforehand."""
    info = probe(path)
    source = VideoSource(info, plan_frames(info, num_frames), engine.processor)
    for _ in source.frames():
        pass
    seconds = []
    for _ in range(RUNS):
        session = ChatSession(engine, is_shared=False)
        session.set_source(source)
        for _ in session.ask("Is there a red circle?", Sampling(max_new_tokens=1)):
            pass
        seconds.append(session.turns[-1].stats.seconds_to_prefill)
    source.close()
    return num_frames * engine.loaded.model.config.tokens_per_frame, float(np.median(seconds))


def encoding_ms(engine: LocalEngine, num_frames: int = 256) -> float:
    """CPU milliseconds of the vision tower and projector per frame."""
    side = engine.processor.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (num_frames, side, side, 3), np.uint8)
    taken = []
    for _ in range(RUNS + 1):  # the first run is a warm-up
        started = time.process_time()
        for first in range(0, num_frames, PREFILL_CHUNK_FRAMES):
            engine.encode_frames(pixels[first : first + PREFILL_CHUNK_FRAMES])
        taken.append(time.process_time() - started)
    return 1000 * float(np.median(taken[1:])) / num_frames


def clock() -> None:
    engine = LocalEngine(load("tiny"), Settings())
    encoding = encoding_ms(engine)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, max(TIMED_FRAMES) / 25, 25, 168, 168)
        seconds_to_prefill(engine, path, 16)  # warm up
        readings = [seconds_to_prefill(engine, path, frames) for frames in TIMED_FRAMES]
    tokens, seconds = zip(*readings, strict=True)
    a, b, deviation = fit(tokens, seconds)
    print(f"\nbundled model, frames decoded beforehand; median of {RUNS}\n")
    print("| frames | tokens | s | s, fitted |\n|---|---|---|---|")
    for frames, number, second in zip(TIMED_FRAMES, tokens, seconds, strict=True):
        print(f"| {frames:,} | {number:,} | {second:.2f} | {a * number + b * number**2:.2f} |")
    print()
    least, most = TIMED_FRAMES[0], TIMED_FRAMES[-1]
    rows.add(
        f"seconds to prefill T tokens, bundled model, {least} to {most:,} frames",
        " ".join(f"{second:.2f}" for second in seconds) + " s measured",
        f"{a:.3g}·T + {b:.3g}·T² (fitted)",
        f"maximum error {deviation:.0%}",
    )
    max_ms, max_seconds = TARGETS
    rows.add(
        "CPU time to encode a frame, bundled model",
        f"target: {max_ms:.0f} ms",
        f"{encoding:.2f} ms",
        rows.times(max_ms, encoding),
    )
    rows.add(
        f"prefill of {most:,} frames, bundled model",
        f"target: {max_seconds:.0f} s",
        f"{seconds[-1]:.1f} s",
        rows.times(max_seconds, seconds[-1]),
    )


def main() -> None:
    count()
    clock()


if __name__ == "__main__":
    main()
