"""What this machine has, and which model would be chosen: `longva-demo doctor`."""

import importlib.metadata
import platform
import shutil
import tempfile
from typing import Any
from urllib.request import urlopen

import psutil
import torch
from prometheus_client.parser import text_string_to_metric_families

from longva_demo.model.choice import Facts, choose, probe_facts
from longva_demo.model.loading import find_attention, find_device, find_dtype
from longva_demo.settings import Settings

SERVER_FIGURES = {
    "pages": "longva_pages",
    "waiting": "longva_waiting",
    "running": "longva_questions_running",
    "questions": "longva_questions",
    "frames_read": "longva_frames_read",
    "kv_bytes": "longva_kv_bytes",
    "prefixes_dropped": "longva_prefixes_dropped",
    "prefixes_rebuilt": "longva_prefixes_rebuilt",
    "resident_memory_bytes": "process_resident_memory_bytes",
}
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
    address = f"http://{settings.host}:{settings.port}"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "gpus": [gpu(number) for number in range(torch.cuda.device_count())],
        "cpus": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "free_memory_bytes": psutil.virtual_memory().available,
        "free_disk_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "address": address,
        "server": server_figures(address),
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


def server_figures(address: str) -> dict[str, Any] | None:
    """What the server at `address` says of itself at /metrics; None where none answers.

    Sums over all labels; of the questions also how many ended in which way, as "outcomes".
    """
    try:
        with urlopen(f"{address}/metrics", timeout=2) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (OSError, ValueError):
        return None
    values: dict[str, float] = {}
    outcomes: dict[str, float] = {}
    for family in families:
        samples = (sample.value for sample in family.samples if not sample.name.endswith("_created"))
        values[family.name] = sum(samples)
        if family.name == SERVER_FIGURES["questions"]:
            ends = [sample for sample in family.samples if sample.name.endswith("_total")]
            outcomes = {sample.labels["outcome"]: sample.value for sample in ends}
    return {name: values.get(family, 0.0) for name, family in SERVER_FIGURES.items()} | {"outcomes": outcomes}


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
        "Server": describe_server(findings["server"], findings["address"]),
    }
    return "\n".join(f"{name:<10}{text}" for name, text in rows.items())


def describe_server(figures: dict[str, Any] | None, address: str) -> str:
    if figures is None:
        return f"none answers at {address}; --host and --port name another"
    outcomes = ", ".join(f"{number:,.0f} {outcome}" for outcome, number in sorted(figures["outcomes"].items()))
    counts = f"{figures['pages']:.0f} pages open; questions: {figures['running']:.0f} on their way"
    counts += f" ({figures['waiting']:.0f} in line), {figures['questions']:,.0f} done"
    counts += f": {outcomes}" if outcomes else ""
    counts += f"; {figures['frames_read']:,.0f} frames read"
    counts += f"; {figures['kv_bytes'] / 1e9:.1f} GB of them kept, {figures['prefixes_rebuilt']:,.0f} videos read again"
    return f"{counts}; {figures['resident_memory_bytes'] / 1e9:.1f} GB of memory"
