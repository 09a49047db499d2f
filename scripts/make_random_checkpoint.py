"""Write a full-size LongVA-7B with random weights, in the published on-disk format.

Its answers are nonsense, but it loads, quantises and runs like the real model, without downloading it.

    python scripts/make_random_checkpoint.py --meta                  # shapes and parameter count only
    python scripts/make_random_checkpoint.py random-7b               # 15.9 GB, in bfloat16
    python scripts/make_random_checkpoint.py random-7b --device cuda # the same, faster
    python -m longva_demo ask clip.mp4 "What happens?" --model random-7b
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import GenerationConfig, Qwen2Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, without installing it

from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor

SHARD_BYTES = 4 * 1024**3
STD = 0.02
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # the last tokens of the published tokenizer
NUM_WORDS = 151_643  # number of tokens before the special ones


def shapes(config: LongVAConfig) -> dict[str, torch.Size]:
    """Name and shape of every tensor, from a model on the meta device."""
    with torch.device("meta"):
        model = LongVAForConditionalGeneration(config)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def random_tensors(config: LongVAConfig, device: str, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield bfloat16 tensors: norm weights 1, biases 0, everything else normally distributed."""
    generator = torch.Generator(device).manual_seed(seed)
    for name, shape in shapes(config).items():
        if name.endswith("bias"):
            tensor = torch.zeros(shape, device=device)
        elif "norm" in name:
            tensor = torch.ones(shape, device=device)
        else:
            tensor = torch.randn(shape, generator=generator, device=device).mul_(STD)
        yield name, tensor.to(torch.bfloat16).cpu()


def write_weights(config: LongVAConfig, folder: Path, device: str, seed: int, shard_bytes: int) -> None:
    """Write shards `model-00001.safetensors` and so on, and their index."""
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    total, num_shards = 0, 0

    def flush() -> None:
        nonlocal num_shards
        num_shards += 1
        name = f"model-{num_shards:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()
        print(f"wrote {folder / name}", file=sys.stderr)

    for name, tensor in random_tensors(config, device, seed):
        shard[name] = tensor
        total += tensor.nbytes
        if sum(part.nbytes for part in shard.values()) >= shard_bytes:
            flush()
    if shard:
        flush()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def byte_tokenizer(num_words: int) -> Qwen2Tokenizer:
    """A byte-level tokenizer without Qwen2's merges, but with its vocabulary size and the ids of its special tokens."""
    byte_tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = byte_tokens + [f"word{index}" for index in range(num_words - len(byte_tokens))]
    vocab = {word: index for index, word in enumerate([*words, *SPECIAL_TOKENS])}
    first, *others = SPECIAL_TOKENS
    return Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        bos_token=None,
        pad_token=first,
        eos_token=others[-1],
        extra_special_tokens=others,
    )


def make_checkpoint(
    config: LongVAConfig,
    folder: Path,
    device: str = "cpu",
    seed: int = 0,
    num_words: int = NUM_WORDS,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write weights, config.json, generation_config.json, the tokenizer and the vision tower's configuration."""
    folder.mkdir(parents=True)
    config.architectures, config.dtype = ["LlavaQwenForCausalLM"], torch.bfloat16
    config.save_pretrained(folder)
    LongVAProcessor.from_config(byte_tokenizer(num_words), config).save_pretrained(folder)
    GenerationConfig(eos_token_id=[num_words + 2, num_words], pad_token_id=num_words).save_pretrained(folder)
    write_weights(config, folder, device, seed, shard_bytes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="the folder to write; must not exist yet")
    parser.add_argument(
        "--meta", action="store_true", help="print names, shapes and the parameter count; write nothing"
    )
    parser.add_argument("--device", default="cpu", help="where the random numbers are generated: cpu (slow) or cuda")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    config = LongVAConfig()
    sizes = shapes(config)
    num_parameters = sum(shape.numel() for shape in sizes.values())
    if options.meta:
        for name, shape in sizes.items():
            print(f"{name} {list(shape)}")
        print(f"{len(sizes)} tensors, {num_parameters:,} parameters, {2 * num_parameters / 1e9:.1f} GB in bfloat16")
        return 0
    if options.folder is None or options.folder.exists():
        parser.error("pass a folder that does not exist yet, or --meta")
    free = shutil.disk_usage(options.folder.resolve().parent).free
    if free < 2 * num_parameters:
        parser.error(f"the checkpoint needs {2 * num_parameters / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free")
    make_checkpoint(config, options.folder, options.device, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
