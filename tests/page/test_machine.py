"""The panel about LongVA-7B on this machine: what it says of machines that the tests do not have."""

from dataclasses import replace

import pytest

from longva_demo.chat import Capability, ModelInfo
from longva_demo.model import LongVAConfig, load
from longva_demo.model.choice import DOWNLOAD_BYTES, MIN_FRAMES, needed_bytes, needed_cpu_bytes
from longva_demo.model.estimate import Estimate, ModelSize, ProcessorSpeed
from longva_demo.model.machine import Gpu, Machine, probe_machine
from longva_demo.page.components import machine as panel
from longva_demo.page.components.machine import machine_facts

GB = 10**9
NO_GPU = Machine((), 8, 12 * GB, 16 * GB, 100 * GB, has_bitsandbytes=True)


@pytest.fixture(scope="module")
def model() -> ModelInfo:
    return ModelInfo.of(load("tiny"))


def with_gpu(gigabytes: int) -> Machine:
    """The model is loaded on the first GPU, whatever the second one has."""
    return replace(NO_GPU, gpus=(Gpu("First", gigabytes * GB, gigabytes * GB), Gpu("Second", 80 * GB, 80 * GB)))


@pytest.mark.parametrize(
    ("machine", "fits", "advice"),
    [
        (NO_GPU, [False, False], "machine.downloads"),
        (replace(NO_GPU, disk_bytes=GB), [False, False], "machine.needs_disk"),
        (replace(NO_GPU, free_bytes=8 * GB), [False, False], "machine.needs_gpu"),
        (with_gpu(8), [False, False], "machine.needs_more"),
        (with_gpu(12), [False, True], "machine.downloads"),
        (replace(with_gpu(12), has_bitsandbytes=False), [False, False], "machine.needs_more"),
        (with_gpu(24), [True, True], "machine.downloads"),
        (replace(with_gpu(24), disk_bytes=GB), [True, True], "machine.needs_disk"),
    ],
)
def test_what_fits_and_what_is_missing(
    model: ModelInfo, machine: Machine, fits: list[bool], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "find_cached", lambda _: None)
    found = machine_facts(model, machine)
    assert [row["fits"] for row in found["rows"]] == fits
    assert [row["needed"] for row in found["rows"]] == [
        int(needed_bytes(quant, MIN_FRAMES)) for quant in ("none", "4bit")
    ]
    assert found["advice"]["key"] == advice
    if advice in ("machine.downloads", "machine.needs_disk"):
        assert found["advice"]["bytes"] == DOWNLOAD_BYTES


def test_weights_that_are_here_need_no_download(model: ModelInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "find_cached", lambda _: "/weights")
    assert machine_facts(model, with_gpu(24))["advice"]["key"] == "machine.ready"


def test_a_model_that_is_not_the_built_in_one_is_in_use(model: ModelInfo) -> None:
    found = machine_facts(replace(model, id="lmms-lab/LongVA-7B"), with_gpu(24))
    assert found["advice"]["key"] == "machine.in_use"
    assert found["is_builtin"] is False


def test_without_a_gpu_the_processor_is_estimated(model: ModelInfo) -> None:
    """The 8-bit weights with the cache of 16 frames need 9.3 GB. A model in use gives its own estimate."""
    found = machine_facts(model, NO_GPU)["processor"]
    assert (found["precision"], found["needed"]["bytes"], found["fits"]) == ("8-bit", needed_cpu_bytes(), True)
    assert found["times"]["count"] == 8
    assert found["times"]["first_interval"] > found["times"]["word_interval"] > 0
    assert machine_facts(model, replace(NO_GPU, free_bytes=8 * GB))["processor"]["fits"] is False
    assert machine_facts(model, with_gpu(24))["processor"] is None
    times = Estimate(ProcessorSpeed(500e9, 500e9, 33e9, 80e9), ModelSize.of(LongVAConfig()))
    in_use = replace(model, id="lmms-lab/LongVA-7B", estimate=times)
    found = machine_facts(in_use, replace(NO_GPU, free_bytes=GB))["processor"]
    assert found["fits"] is True
    assert found["times"]["first_interval"] == times.first_word(8)


def test_this_machine_is_described(model: ModelInfo) -> None:
    machine = probe_machine()
    assert 0 < machine.free_bytes <= machine.total_bytes
    first, *_ = machine_facts(model, machine)["facts"]
    assert first["key"] == ("machine.gpu" if machine.gpus else "machine.no_gpu")


def test_of_a_model_elsewhere_only_what_is_missing_is_said(model: ModelInfo) -> None:
    found = machine_facts(replace(model, is_here=False), NO_GPU, {Capability.ATTENTION})
    assert [fact["key"] for fact in found["facts"]] == ["engine.no_needle_test", "engine.no_search"]
    assert (found["rows"], found["is_builtin"]) == ([], False)
