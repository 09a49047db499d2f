"""8-bit weights on the CPU beside bitsandbytes' 4-bit ones: quality, speed, memory.

Speed is measured on four of LongVA-7B's 28 layers, with random weights; quality on the golden checkpoints and on the
bundled model's evaluation. Run it with `python -m bench.int8`. bench/processor.py runs the whole model.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import rows
from bench.process import cpu_seconds, run_in_process

NUM_LAYERS = 4
NUM_TOKENS = {"prefill": 288, "question": 24}  # 2 frames; a short question
NEW_TOKENS = {"8bit": 10, "4bit": 3, "none": 10}
REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "data" / "reference" / "a"
SCENES, CLIPS = 20, 6  # of the bundled model's evaluation
# Targets: LongVA-7B's time per token, and the error of the logits.
MIN_RATIO, MAX_RMS_ERROR, MIN_SAME_ARGMAX = 10.0, 0.025, 0.97


def make_layers(folder: str) -> None:
    """A checkpoint with layers of LongVA-7B's size, and everything else small."""
    from longva_demo.model import LongVAConfig
    from scripts.make_random_checkpoint import make_checkpoint

    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LongVAConfig(
        num_hidden_layers=NUM_LAYERS,
        vocab_size=1024,
        mm_hidden_size=32,
        vision_config={**vision, "image_size": 336, "patch_size": 14, "model_type": "clip_vision_model"},
    )
    make_checkpoint(config, Path(folder), num_words=1000)


def time_layers(folder: str, quant: str) -> dict[str, Any]:
    """CPU seconds to append tokens, and to generate one; bytes of anonymous memory after loading."""
    import psutil
    import torch

    from longva_demo.chat import LocalEngine
    from longva_demo.model import load
    from longva_demo.settings import Settings

    started = cpu_seconds()
    engine = LocalEngine(load(folder, quant=quant, device="cpu"), Settings())
    taken: dict[str, Any] = {"load": cpu_seconds() - started}
    memory = psutil.Process().memory_full_info()
    taken["bytes"] = memory.rss - memory.shared
    model = engine.loaded.model
    cache = engine.new_cache(1024)

    def append(num_tokens: int) -> float:
        embeds = torch.randn(1, num_tokens, model.config.hidden_size)
        begun = cpu_seconds()
        with torch.inference_mode():
            model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cpu_seconds() - begun

    append(1)  # warm up
    for name, num_tokens in NUM_TOKENS.items():
        taken[name] = append(num_tokens)
    taken["token"] = statistics.median(append(1) for _ in range(NEW_TOKENS[quant]))
    return taken


def compare_speed() -> None:
    with TemporaryDirectory() as folder:
        run_in_process("bench.int8:make_layers", folder=f"{folder}/layers")
        ours, four_bit, full = (
            run_in_process("bench.int8:time_layers", folder=f"{folder}/layers", quant=quant)
            for quant in ("8bit", "4bit", "none")
        )
    what = {
        "token": "one token",
        "question": f"{NUM_TOKENS['question']} tokens of a question",
        "prefill": f"{NUM_TOKENS['prefill']} tokens of 2 frames",
    }
    of = f"{NUM_LAYERS} of LongVA-7B's 28 layers on the CPU"
    for key, words in what.items():
        for name, others in (("bitsandbytes' 4-bit", four_bit), ("float32", full)):
            baseline = f"{name}: {others[key]:.2f} CPU s"
            rows.add(f"{words}, {of}", baseline, f"8-bit: {ours[key]:.3f} CPU s", rows.times(others[key], ours[key]))
    gigabytes = [one["bytes"] / 1e9 for one in (full, ours)]
    rows.add(
        f"memory, {of}", f"float32: {gigabytes[0]:.2f} GB", f"8-bit: {gigabytes[1]:.2f} GB", rows.times(*gigabytes)
    )
    verdict = "reached" if four_bit["token"] >= MIN_RATIO * ours["token"] else "NOT reached"
    print(f"target: {MIN_RATIO:.0f} × bitsandbytes' 4-bit per token, {verdict}")


def measure_quality(quant: str) -> dict[str, float]:
    """The golden prompts' logits in this precision against those in float32."""
    import json

    import torch
    from safetensors.torch import load_file

    from longva_demo.model import load

    checkpoint = str(REFERENCE / "checkpoint")
    ours, full = load(checkpoint, quant=quant, device="cpu"), load(checkpoint, device="cpu")
    error = total = same = count = 0.0
    for case in json.loads((REFERENCE / "cases.json").read_text(encoding="utf-8"))["cases"].values():
        if case["modalities"] != ["video"] or not isinstance(case["input"], str):
            continue
        frames = load_file(REFERENCE.parent / case["input"])["frames"].numpy()[case.get("frames_used", slice(None))]
        inputs = full.processor(text=case["prompt"], videos=[frames])
        with torch.inference_mode():
            a, b = (one.model(**inputs).logits for one in (full, ours))
        error += (a - b).square().sum().item()
        total += a.square().sum().item()
        same += (a.argmax(-1) == b.argmax(-1)).sum().item()
        count += a.shape[1]
    return {"error": (error / total) ** 0.5, "same": same / count}


def compare_quality() -> None:
    ours, four_bit = (run_in_process("bench.int8:measure_quality", quant=quant) for quant in ("8bit", "4bit"))
    what = "logits of a golden checkpoint against float32"
    rows.add(
        f"{what}, rms error ÷ rms",
        f"bitsandbytes' 4-bit: {four_bit['error']:.3f}",
        f"8-bit: {ours['error']:.4f}",
        f"{four_bit['error'] / ours['error']:.1f} × (target: at most {MAX_RMS_ERROR})",
    )
    rows.add(
        f"{what}, same most likely token",
        f"bitsandbytes' 4-bit: {four_bit['same']:.3f}",
        f"8-bit: {ours['same']:.3f}",
        f"target: at least {MIN_SAME_ARGMAX}",
    )


def evaluation_answers(folder: str) -> list[str]:
    """The answers of a copy of the bundled model to questions of its evaluation."""
    from tools.tiny.ask import TinyModel
    from tools.tiny.evaluate import EVALUATION_SEED, Tally, clips, needle_clips, single_scenes

    class Record(Tally):
        def add(self, *asked: Any) -> None:
            answers.append(asked[-1])

    answers: list[str] = []
    model, tally = TinyModel(Path(folder)), Record()
    single_scenes(model, tally, SCENES, EVALUATION_SEED)
    clips(model, tally, CLIPS, EVALUATION_SEED)
    needle_clips(model, tally, 64, CLIPS, EVALUATION_SEED)
    return answers


def save_tiny(folder: str, quant: str) -> None:
    from longva_demo.model import load

    loaded = load("tiny", quant=quant, device="cpu")
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def compare_answers() -> None:
    answers = []
    with TemporaryDirectory() as folder:
        for quant in ("none", "8bit"):
            run_in_process("bench.int8:save_tiny", folder=f"{folder}/{quant}", quant=quant)
            answers.append(run_in_process("bench.int8:evaluation_answers", folder=f"{folder}/{quant}"))
    same = sum(full == ours for full, ours in zip(*answers, strict=True))
    rows.add(
        "answers of the bundled model's evaluation, word for word",
        f"float32: {len(answers[0])}",
        f"8-bit: {same} the same",
        f"{same / len(answers[0]):.1%}",
    )


def main() -> None:
    started = time.perf_counter()
    compare_quality()
    compare_answers()
    compare_speed()
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
