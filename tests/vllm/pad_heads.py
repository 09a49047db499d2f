"""Widens the heads of a tiny checkpoint with zeros: vLLM's attention on a CPU has no heads of 16 or 24.

The logits stay the same. Hidden size and heads grow to 32 per head. RMSNorm's mean over more numbers is undone in its
weight and eps, RoPE's base is raised so that the frequencies of the old pairs stay, and the softmax scale is undone in
the queries.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from longva_demo.model.checkpoint_files import weight_files

HEAD = 32


def pad(tensor: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def pad_rotated(tensor: torch.Tensor, num_heads: int, scale: float = 1.0) -> torch.Tensor:
    """Rows of queries or keys, (heads × size, …): both halves of a head, which RoPE pairs, stay halves."""
    size = len(tensor) // num_heads
    halves = tensor.reshape(num_heads, 2, size // 2, *tensor.shape[1:]) * scale
    return pad(halves, 2, HEAD // 2).flatten(0, 2)


def pad_values(tensor: torch.Tensor, num_heads: int) -> torch.Tensor:
    return pad(tensor.reshape(num_heads, -1, *tensor.shape[1:]), 1, HEAD).flatten(0, 1)


def pad_tensor(name: str, tensor: torch.Tensor, heads: int, kv_heads: int, width: int) -> torch.Tensor:
    """One tensor of a checkpoint whose hidden size was `width`."""
    new, old_head = HEAD * heads, width // heads
    if "vision_tower" in name:
        return tensor
    if "norm" in name:
        return pad(tensor * (width / new) ** 0.5, 0, new)
    rotated = ".q_proj" in name or ".k_proj" in name
    if "mm_projector" in name or ".o_proj" in name or ".down_proj" in name:
        if ".o_proj" in name:
            tensor = pad_values(tensor.T.contiguous(), heads).T.contiguous()
        tensor = pad(tensor, 0, new)
        return pad(tensor, 1, new) if "mm_projector.2.weight" in name else tensor
    if rotated:
        is_query = ".q_proj" in name
        tensor = pad_rotated(tensor, heads if is_query else kv_heads, (HEAD / old_head) ** 0.5 if is_query else 1.0)
    elif ".v_proj" in name:
        tensor = pad_values(tensor, kv_heads)
    return pad(tensor, 1, new) if tensor.dim() == 2 else tensor


def pad_checkpoint(source: Path, target: Path) -> Path:
    """Write `source` with wider heads to the folder `target`, and the vision tower's files beside it."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    width, heads, kv_heads = (config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    new = HEAD * heads
    tensors = {name: tensor for file in weight_files(source) for name, tensor in load_file(file).items()}
    padded = {name: pad_tensor(name, tensor, heads, kv_heads, width).contiguous() for name, tensor in tensors.items()}
    config |= {
        "hidden_size": new,
        "rms_norm_eps": config["rms_norm_eps"] * width / new,
        "rope_theta": config["rope_theta"] ** (HEAD * heads / width),
    }
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_dir():
            shutil.copytree(file, target / file.name)
        elif file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copy(file, target / file.name)
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(padded, target / "model.safetensors", {"format": "pt"})
    for beside in source.parent.iterdir():
        if beside.is_dir() and (beside / "clip-vit-large-patch14-336").is_dir():
            shutil.copytree(beside, target.parent / beside.name, dirs_exist_ok=True)
    return target
