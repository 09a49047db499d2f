"""`longva-demo doctor`: the hardware and packages of this machine, and the model that auto would choose."""

import importlib.metadata
import platform
import shutil
import tempfile
from typing import Any
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from longva_demo.chat.local_engine import DEFAULT_SECONDS
from longva_demo.chat.remote import RemoteEngine
from longva_demo.errors import DemoError
from longva_demo.model import LongVAConfig
from longva_demo.model.choice import choose, needed_cpu_bytes, probe_host
from longva_demo.model.estimate import estimate
from longva_demo.model.loading import REASON_FRAMES, find_attention, find_device, find_dtype
from longva_demo.model.machine import Gpu, Machine, probe_machine
from longva_demo.settings import Settings

SERVER_METRICS = {
    "pages": "longva_pages",
    "queue_length": "longva_queue_length",
    "running": "longva_questions_running",
    "questions": "longva_questions",
    "frames_prefilled": "longva_frames_prefilled",
    "kv_bytes": "longva_kv_bytes",
    "prefixes_evicted": "longva_prefixes_evicted",
    "engine_cached_tokens": "longva_engine_cached_tokens",
    "engine_prompt_tokens": "longva_engine_prompt_tokens",
    "engine_retries": "longva_engine_retries",
    "prefixes_recomputed": "longva_prefixes_recomputed",
    "resident_memory_bytes": "process_resident_memory_bytes",
}
ESTIMATED_FRAMES = (4, 8, 16, 32)  # without a GPU
PACKAGES = (
    "longva-demo",
    "torch",
    "transformers",
    "gradio",
    "huggingface-hub",
    "accelerate",
    "bitsandbytes",
    "flash-attn",
    "kernels",
    "peft",
    "av",
    "decord",
    "pillow",
    "spaces",
)


def examine(settings: Settings) -> dict[str, Any]:
    """Findings as plain values: sizes in bytes, None for what is not installed."""
    device = find_device(settings.device)
    if settings.model == "auto":
        choice = choose(probe_host(device), settings.quant)
        model_id, quant, reason = choice.model_id, choice.quant, choice.reason
    else:
        model_id, quant = settings.model, settings.quant
        reason = "It is set in LONGVA_MODEL."
    dtype = find_dtype(settings.dtype, device)
    machine = probe_machine()
    address = f"http://{settings.host}:{settings.port}"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "gpus": [describe_gpu(gpu) for gpu in machine.gpus],
        "cpus": machine.num_cores,
        "memory_bytes": machine.total_bytes,
        "free_memory_bytes": machine.free_bytes,
        "free_disk_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "address": address,
        "server": server_metrics(address, settings.metrics_token),
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
        "longva_7b_on_cpu": on_processor(machine) if device.type == "cpu" else None,
        "engine": describe_engine(settings) if settings.engine else None,
    }


def describe_engine(settings: Settings) -> dict[str, Any]:
    """The engine elsewhere, checked as at the start of the page. "problem" is None if it can be used."""
    try:
        engine = RemoteEngine.connect(settings)
    except DemoError as error:
        return {"address": settings.engine, "problem": str(error)}
    model = engine.model
    return {
        "address": settings.engine,
        "problem": None,
        "model": model.id,
        "revision": model.revision,
        "context_tokens": model.context_length,
        "replicas": engine.num_replicas,
    }


def on_processor(machine: Machine) -> dict[str, Any]:
    """What LongVA-7B needs in 8 bits, and how long it takes by a probe of this processor."""
    times = estimate(LongVAConfig())
    frames = times.frames_within(DEFAULT_SECONDS)
    return {
        "quant": "8bit",
        "needed_bytes": int(needed_cpu_bytes()),
        "fits": machine.free_bytes >= needed_cpu_bytes(),
        "seconds_to_first_token": {str(count): round(times.first_word(count), 1) for count in ESTIMATED_FRAMES},
        "seconds_to_next_first_token": round(times.next_first_word(REASON_FRAMES), 1),
        "tokens_per_second": round(1 / times.token(REASON_FRAMES), 2),
        "frames_in_a_minute": frames if times.first_word(frames) <= DEFAULT_SECONDS else 0,
        "summary": times.sentence(REASON_FRAMES),
    }


def server_metrics(address: str, token: str = "") -> dict[str, Any] | None:
    """The metrics of the server at `address`, summed over their labels; None if no server answers this token.

    "outcomes" has the number of questions per outcome.
    """
    try:
        request = Request(f"{address}/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        with urlopen(request, timeout=2) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (OSError, ValueError):
        return None
    values: dict[str, float] = {}
    outcomes: dict[str, float] = {}
    for family in families:
        samples = (sample.value for sample in family.samples if not sample.name.endswith("_created"))
        values[family.name] = sum(samples)
        if family.name == SERVER_METRICS["questions"]:
            ends = [sample for sample in family.samples if sample.name.endswith("_total")]
            outcomes = {sample.labels["outcome"]: sample.value for sample in ends}
    return {name: values.get(family, 0.0) for name, family in SERVER_METRICS.items()} | {"outcomes": outcomes}


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_gpu(gpu: Gpu) -> dict[str, Any]:
    return {"name": gpu.name, "memory_bytes": gpu.total_bytes, "free_memory_bytes": gpu.free_bytes}


def report(findings: dict[str, Any]) -> str:
    """The findings as text."""
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
        "GPU": "; ".join(gpus) or "none that PyTorch can use with CUDA",
        "CPU": f"{findings['cpus']} cores",
        "Memory": f"{gigabytes['free_memory_bytes']:.1f} of {gigabytes['memory_bytes']:.1f} GB free",
        "Disk": f"{gigabytes['free_disk_bytes']:.1f} GB free for frames and uploads",
        "Packages": ", ".join(packages),
        "Decoders": f"{', '.join(decoders)}; {findings['decoder']} is selected",
        "Model": f"{model['model_id']}, {model['quant']} quantisation, {model['dtype']} on {model['device']}, "
        f"attention {model['attention']}",
        "Why": model["reason"],
        **({"Engine": report_engine(findings["engine"])} if findings["engine"] else {}),
        **({"LongVA-7B": describe_processor(findings["longva_7b_on_cpu"])} if findings["longva_7b_on_cpu"] else {}),
        "Server": describe_server(findings["server"], findings["address"]),
    }
    return "\n".join(f"{name:<10}{text}" for name, text in rows.items())


def report_engine(facts: dict[str, Any]) -> str:
    if facts["problem"] is not None:
        return facts["problem"]
    revision = f" at revision {facts['revision']}" if facts["revision"] else ""
    what = f"{facts['model']}{revision}, context of {facts['context_tokens']:,} tokens"
    return f"{what}, {facts['replicas']} replicas at {facts['address']}; it answers instead of the model above"


def describe_processor(facts: dict[str, Any]) -> str:
    fits = "free" if facts["fits"] else "not free"
    memory = f"on this processor in 8 bits: {facts['needed_bytes'] / 1e9:.1f} GB of memory, which are {fits}"
    next_word = f"a further question {facts['seconds_to_next_first_token']:,.0f} s to its first word"
    return f"{memory}; {facts['summary']}; {next_word}"


def describe_requests(metrics: dict[str, Any]) -> str:
    """What the server has asked of its engine elsewhere."""
    share = metrics["engine_cached_tokens"] / metrics["engine_prompt_tokens"]
    return f"engine: {share:.0%} of prompt tokens cached, {metrics['engine_retries']:,.0f} requests tried again"


def describe_server(metrics: dict[str, Any] | None, address: str) -> str:
    if metrics is None:
        return f"none at {address}; use --host and --port for another address, and LONGVA_METRICS_TOKEN if it needs one"
    outcomes = ", ".join(f"{number:,.0f} {outcome}" for outcome, number in sorted(metrics["outcomes"].items()))
    parts = (
        f"{metrics['pages']:.0f} open pages",
        f"questions: {metrics['running']:.0f} running, {metrics['queue_length']:.0f} queued, "
        f"{metrics['questions']:,.0f} finished" + (f" ({outcomes})" if outcomes else ""),
        f"{metrics['frames_prefilled']:,.0f} frames prefilled",
        f"{metrics['kv_bytes'] / 1e9:.1f} GB of KV cache, {metrics['prefixes_recomputed']:,.0f} prefixes recomputed",
        *([describe_requests(metrics)] if metrics["engine_prompt_tokens"] else []),
        f"{metrics['resident_memory_bytes'] / 1e9:.1f} GB of memory",
    )
    return "; ".join(parts)
