"""Peak memory of prefill as a function of the number of frames: constant except for the KV cache.

Each number of frames runs in its own process: first with the bundled model, then with a model that has LongVA-7B's KV
cache (28 layers, 4 key-value heads of 128, bfloat16, 144 tokens per frame) but minimal layers. Run it with
`python -m bench.memory`.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from bench import rows
from bench.process import peak_bytes, run_in_process

FRAMES = {
    "tiny": (8, 32, 128, 512, 2000),
    "wide": (32, 48, 64),
}  # at least two chunks each: the second one needs more memory than the first
FPS, WIDTH, HEIGHT = 25, 640, 360
EXPECTED = 57_344  # bytes of KV cache per token: 28 layers × 2 (keys, values) × 4 heads × 128 × 2 bytes


def make_clip(path: str) -> None:
    from bench.clips import write_clip

    write_clip(Path(path), max(FRAMES["tiny"]) / FPS, FPS, WIDTH, HEIGHT)


def wide_model() -> Any:
    """A random model with LongVA-7B's KV cache and frames of 336 pixels, but minimal layers."""
    import torch

    from longva_demo.model import LoadedModel, LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor, load

    tiny = load("tiny")
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LongVAConfig(
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=4,
        head_dim=128,  # type: ignore[call-arg]
        vocab_size=tiny.model.config.vocab_size,
        max_position_embeddings=224_000,
        vision_config={**vision, "image_size": 336, "patch_size": 14, "model_type": "clip_vision_model"},
    )
    torch.manual_seed(0)
    model = LongVAForConditionalGeneration(config).bfloat16().eval()
    model.generation_config = tiny.model.generation_config
    processor = LongVAProcessor.from_config(tiny.processor.tokenizer, config)
    device = torch.device("cpu")
    return LoadedModel(model, processor, "wide", "", "none", device, torch.bfloat16, "sdpa", "")


class ChildMemory(threading.Thread):
    """Polls the resident memory of the decoding workers. The system's own peak would include that of the parent."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        this = psutil.Process()
        while not self._ended.wait(0.02):
            with suppress(psutil.Error):
                self._peak = max(self._peak, *(child.memory_info().rss for child in this.children(True)), 0)

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self._peak


def prefill(name: str, path: str, num_frames: int) -> dict[str, float]:
    """Prefill a video and generate one token. Returns the peak in bytes, and bytes and tokens of the KV cache."""
    from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
    from longva_demo.chat.local_prefix import LocalPrefix
    from longva_demo.model import load
    from longva_demo.settings import Settings
    from longva_demo.video import plan_frames, probe

    engine = LocalEngine(load("tiny") if name == "tiny" else wide_model(), Settings())
    info = probe(path)
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, num_frames), engine.processor))
    child_memory = ChildMemory()
    started = time.perf_counter()
    for _ in session.ask("Is there a red circle?", Sampling(max_new_tokens=1)):
        pass
    seconds = time.perf_counter() - started
    worker = child_memory.stop()
    assert isinstance(session.prefix, LocalPrefix)
    cache = engine.prefix_cache.entries_of(session.prefix.lease)[0].cache
    layers = range(engine.loaded.model.config.num_hidden_layers)
    cache_bytes = sum(part.nbytes for layer in layers for part in cache.layer_tensors(layer))
    own, _ = peak_bytes()
    tokens = cache.get_seq_length()
    return {"own": own, "worker": worker, "cache": cache_bytes, "tokens": tokens, "seconds": seconds}


def measure(name: str, path: str) -> list[dict[str, float]]:
    print("| frames | tokens | peak, MB | worker's peak, MB | KV cache, MB | peak without KV cache, MB | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    readings = []
    for num_frames in FRAMES[name]:
        one = run_in_process("bench.memory:prefill", name=name, path=path, num_frames=num_frames)
        megabytes = [f"{one[key] / 1e6:,.0f}" for key in ("own", "worker", "cache")]
        rest = f"{(one['own'] - one['cache']) / 1e6:,.0f} | {one['seconds']:.1f}"
        print(f"| {num_frames:,} | {one['tokens']:,} | {' | '.join(megabytes)} | {rest} |", flush=True)
        readings.append(one)
    print()
    return readings


def main() -> None:
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        run_in_process("bench.memory:make_clip", path=path)
        print(f"{WIDTH} × {HEIGHT}, {max(FRAMES['tiny']):,} frames; bundled model\n")
        tiny = measure("tiny", path)
        print("small model with LongVA-7B's KV cache\n")
        wide = measure("wide", path)
    compare_peaks(tiny)
    compare_growth(wide)


def compare_peaks(readings: list[dict[str, float]]) -> None:
    peaks = [(one["own"] + one["worker"] - one["cache"]) / 1e6 for one in readings]
    most = FRAMES["tiny"][-1]
    for least, peak in list(zip(FRAMES["tiny"], peaks, strict=True))[:-1:2]:
        what = f"peak memory without the KV cache, bundled model, {most:,} frames vs. {least}"
        ratio = f"{peaks[-1] / peak:.2f} × the memory for {most / least:.0f} × the frames"
        rows.add(what, f"{least} frames: {peak:,.0f} MB", f"{peaks[-1]:,.0f} MB", ratio)


def compare_growth(readings: list[dict[str, float]]) -> None:
    tokens = np.array([one["tokens"] for one in readings])
    stored = readings[-1]["cache"] / readings[-1]["tokens"]
    growth = np.polyfit(tokens, np.array([one["own"] for one in readings]), 1)[0]
    what = f"LongVA-7B's KV cache, bytes per token, {FRAMES['wide'][0]} to {FRAMES['wide'][-1]} frames"
    for name, found in (("stored", stored), ("growth of the peak", growth)):
        ratio = f"{found / EXPECTED:.3f} of expected"
        rows.add(what, f"{EXPECTED:,} expected", f"{found:,.0f} {name}", ratio)


if __name__ == "__main__":
    main()
