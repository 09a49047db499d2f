"""The panel "LongVA-7B on this machine": what it needs, what is there, and what can be done with the video now."""

from collections.abc import Collection

import gradio as gr

from longva_demo.chat import Capability, ModelInfo
from longva_demo.model import LongVAConfig
from longva_demo.model.choice import DOWNLOAD_BYTES, LONGVA_7B, MIN_FRAMES, fits, needed_bytes, needed_cpu_bytes
from longva_demo.model.estimate import estimate
from longva_demo.model.hub import find_cached
from longva_demo.model.machine import Machine
from longva_demo.page.components.component import make_component
from longva_demo.page.components.header import is_builtin
from longva_demo.page.i18n import Message, message
from longva_demo.page.transcript import Value

# The names of the precisions for the page, by the value of --quant.
PRECISIONS = {"none": "bf16", "4bit": "4-bit"}
# What the page says about a capability that the engine lacks.
MISSING = {
    Capability.NEEDLE_TEST: "engine.no_needle_test",
    Capability.WINDOWS: "engine.no_search",
}
TIMED_FRAMES = 8  # frames for which the time on a processor is estimated


def make_machine(elem_id: str) -> gr.HTML:
    """Value: `machine_facts`, or None until the panel is opened. Event: `examine`."""
    return make_component("machine", None, elem_id)


def machine_facts(
    model: ModelInfo, machine: Machine, capabilities: Collection[Capability] = frozenset(Capability)
) -> Value:
    """What LongVA-7B needs for MIN_FRAMES frames beside what this machine has, in bytes.

    If the model runs elsewhere: what the page does without.
    """
    if not model.is_here:
        return elsewhere_facts(model, capabilities)
    gpu_bytes = machine.gpus[0].free_bytes if machine.gpus else 0
    rows: list[Value] = [
        {
            "precision": name,
            "needed": int(needed_bytes(quant, MIN_FRAMES)),
            "fits": fits(quant, gpu_bytes, machine.has_bitsandbytes),
        }
        for quant, name in PRECISIONS.items()
    ]
    processor = None if machine.gpus else processor_facts(model, machine)
    fits_here = any(row["fits"] for row in (*rows, *([processor] if processor else [])))
    return {
        "reason": model.reason,
        "is_builtin": is_builtin(model),
        "facts": facts(machine),
        "frames": MIN_FRAMES,
        "rows": rows,
        "processor": processor,
        "advice": advice(model, machine, fits_here),
        "command": f"longva-demo serve --model {LONGVA_7B}",
    }


def elsewhere_facts(model: ModelInfo, capabilities: Collection[Capability]) -> Value:
    missing = [key for capability, key in MISSING.items() if capability not in capabilities]
    return {
        "reason": model.reason,
        "is_builtin": False,
        "facts": [message(key) for key in missing],
        "frames": MIN_FRAMES,
        "rows": [],
        "processor": None,
        "advice": message("machine.in_use"),
        "command": "",
    }


def processor_facts(model: ModelInfo, machine: Machine) -> Value:
    """What LongVA-7B needs without a GPU, in 8 bits, and how long it takes: estimated from a probe."""
    needed = needed_cpu_bytes()
    times = model.estimate or estimate(LongVAConfig())
    return {
        "precision": "8-bit",
        "needed": message("machine.host_memory", bytes=needed),
        "fits": not is_builtin(model) or machine.free_bytes >= needed,
        "times": message(
            "machine.processor_times",
            count=TIMED_FRAMES,
            first_interval=times.first_word(TIMED_FRAMES),
            word_interval=times.token(TIMED_FRAMES),
        ),
    }


def facts(machine: Machine) -> list[Message]:
    gpus = [
        message("machine.gpu", name=gpu.name, free_bytes=gpu.free_bytes, total_bytes=gpu.total_bytes)
        for gpu in machine.gpus
    ]
    return [
        *(gpus or [message("machine.no_gpu")]),
        message(
            "machine.processor",
            count=machine.num_cores,
            free_bytes=machine.free_bytes,
            total_bytes=machine.total_bytes,
        ),
        message("machine.disk", free_bytes=machine.disk_bytes),
    ]


def advice(model: ModelInfo, machine: Machine, fits_here: bool) -> Message:
    """What stands between this machine and LongVA-7B, as a line above the command."""
    if not is_builtin(model):
        return message("machine.in_use")
    if not fits_here:
        key = "machine.needs_more" if machine.gpus else "machine.needs_gpu"
        return message(key, bytes=needed_bytes("4bit", MIN_FRAMES))
    if find_cached(LONGVA_7B) is not None:
        return message("machine.ready")
    key = "machine.downloads" if machine.disk_bytes >= DOWNLOAD_BYTES else "machine.needs_disk"
    return message(key, bytes=DOWNLOAD_BYTES)
