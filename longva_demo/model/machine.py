"""This machine, as far as a model's needs go: GPUs, cores, memory, and disk."""

from dataclasses import dataclass

import psutil
import torch

from longva_demo.model.choice import free_disk, is_installed
from longva_demo.model.hub import hub_cache


@dataclass(frozen=True)
class Gpu:
    """A CUDA GPU."""

    name: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Machine:
    """The first GPU is the one that a model is loaded on. `disk_bytes` are free on the disk of the Hub's cache."""

    gpus: tuple[Gpu, ...]
    num_cores: int
    free_bytes: int
    total_bytes: int
    disk_bytes: int
    has_bitsandbytes: bool


def probe_machine() -> Machine:
    memory = psutil.virtual_memory()
    return Machine(
        gpus=tuple(probe_gpu(number) for number in range(torch.cuda.device_count())),
        num_cores=psutil.cpu_count() or 1,
        free_bytes=memory.available,
        total_bytes=memory.total,
        disk_bytes=free_disk(hub_cache()),
        has_bitsandbytes=is_installed("bitsandbytes"),
    )


def probe_gpu(number: int) -> Gpu:
    free, total = torch.cuda.mem_get_info(number)
    return Gpu(torch.cuda.get_device_name(number), free, total)
