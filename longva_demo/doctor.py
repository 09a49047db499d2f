"""What this machine has, and which model would be chosen: `longva-demo doctor`."""

import importlib.metadata
import platform
import shutil
import tempfile
from typing import Any

import psutil
import torch

from longva_demo.model.choice import Facts, choose, probe_facts
from longva_demo.model.loading import find_attention, find_device, find_dtype
from longva_demo.settings import Settings

PACKAGES = (
    "longva-demo",
    "torch",
    "transformers",
    "gradio",
    "huggingface-hub",
    "accelerate",
    "bitsandbytes",
    "flash-attn",
    "av",
    "decord",
    "pillow",
    "spaces",
)


def examine(settings: Settings) -> dict[str, Any]:
    """Findings as plain values: sizes in bytes, None for what is not installed."""
    device = find_device(settings.device)
    if settings.model == "auto":
        choice = choose(probe_facts() if device.type == "cuda" else Facts(), settings.quant)
        model_id, quant, reason = choice.model_id, choice.quant, choice.reason
    else:
        model_id, quant = settings.model, settings.quant
        reason = "LONGVA_MODEL asks for it."
    dtype = find_dtype(settings.dtype, device)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "gpus": [gpu(number) for number in range(torch.cuda.device_count())],
        "cpus": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "free_memory_bytes": psutil.virtual_memory().available,
        "free_disk_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "decoders": {"pyav": version("av"), "decord": version("decord")},
        "decoder": settings.decoder,
        "model": {
            "model_id": model_id,
            "quant": quant,
            "device": str(device),
            "dtype": str(dtype).removeprefix("torch."),
            "attention": find_attention(settings.attention, device, dtype),
            "reason": reason,
        },
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def gpu(number: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(number)
    return {"name": torch.cuda.get_device_name(number), "memory_bytes": total, "free_memory_bytes": free}


def report(findings: dict[str, Any]) -> str:
    """The findings as lines for a person."""
    gigabytes = {name: findings[name] / 1e9 for name in ("memory_bytes", "free_memory_bytes", "free_disk_bytes")}
    gpus = [
        f"{entry['name']}, {entry['free_memory_bytes'] / 1e9:.0f} of {entry['memory_bytes'] / 1e9:.0f} GB free"
        for entry in findings["gpus"]
    ]
    packages = [f"{name} {number or 'not installed'}" for name, number in findings["packages"].items()]
    decoders = [f"{name} {number or 'not installed'}" for name, number in findings["decoders"].items()]
    model = findings["model"]
    rows = {
        "Python": f"{findings['python']} on {findings['platform']}",
        "GPU": "; ".join(gpus) or "none that PyTorch can use (CUDA)",
        "CPU": f"{findings['cpus']} cores",
        "Memory": f"{gigabytes['free_memory_bytes']:.1f} of {gigabytes['memory_bytes']:.1f} GB free",
        "Disk": f"{gigabytes['free_disk_bytes']:.1f} GB free for frames and uploads",
        "Packages": ", ".join(packages),
        "Decoders": f"{', '.join(decoders)}; {findings['decoder']} is used",
        "Model": f"{model['model_id']}, {model['quant']} quantisation, {model['dtype']} on {model['device']}, "
        f"attention {model['attention']}",
        "Why": model["reason"],
    }
    return "\n".join(f"{name:<10}{text}" for name, text in rows.items())
