"""Downloads that are interrupted, resumed, slow, refused, or too large: one clear line each, and nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from longva_demo.cli.main import main
from longva_demo.model import download, load
from longva_demo.model.choice import LONGVA_7B, Choice
from longva_demo.model.loading import load_or_fall_back
from tests.model.golden import COPY
from tests.model.mini_hub import COMMIT, Faults, serve_hub
from tests.model.test_loading import failure, point_at

A = COPY / "a" / "checkpoint"
NAME = "someone/longva"
SHARDS = sorted(file.name for file in A.glob("*.safetensors"))
LARGEST, SECOND, SMALLEST = ((A / name).stat().st_size for name in SHARDS)
TOTAL = LARGEST + SECOND + SMALLEST


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "repository"
    shutil.copytree(A, folder)
    shutil.copytree(A.parent / "openai", folder / "openai")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, with the Hub enabled and no waiting between attempts."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def sent() -> dict[str, int]:
    """Bytes sent per path."""
    return {}


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def hub(
    repository: Path, sent: dict[str, int], faults: Faults, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Iterator[None]:
    assert not cache.exists()
    with serve_hub(repository, sent=sent, faults=faults) as endpoint:
        point_at(endpoint, monkeypatch)
        yield


def weight_bytes(sent: dict[str, int]) -> dict[str, int]:
    """Bytes sent per file of weights."""
    found = {path.split("/")[-1]: count for path, count in sent.items() if path.endswith(".safetensors")}
    return {name: found.get(name, 0) for name in SHARDS}


def assert_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has all files, unchanged."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ours, theirs = load(NAME, device="cpu"), load(str(A), device="cpu")
    assert ours.revision == COMMIT
    for name, tensor in theirs.model.state_dict().items():
        assert torch.equal(ours.model.state_dict()[name], tensor), name


@pytest.mark.usefixtures("hub")
def test_every_byte_is_sent_once(sent: dict[str, int], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(NAME, device="cpu")
    assert weight_bytes(sent) == dict(zip(SHARDS, (LARGEST, SECOND, SMALLEST), strict=True))
    assert not list(cache.rglob("*.partial"))
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("hub")
def test_a_lost_connection_is_resumed(sent: dict[str, int], faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first seven connections ends after 100,000 bytes. No byte is sent twice."""
    faults.cut_after, faults.num_cuts = 100_000, 7
    load(NAME, device="cpu")
    assert faults.num_cuts == 0
    assert sum(weight_bytes(sent).values()) == TOTAL
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("hub")
def test_an_interrupted_download_continues_where_it_stopped(
    sent: dict[str, int], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.ends_at = 100_000
    line = failure(NAME)
    assert line.startswith(f"the download of {NAME} stopped after 0.3 of {TOTAL / 1e6:.1f} MB (")
    assert line.endswith("; run the same command again: it continues from there")
    assert set(weight_bytes(sent).values()) == {100_000}
    faults.ends_at = None
    load(NAME, device="cpu")
    assert sum(weight_bytes(sent).values()) == TOTAL
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("hub")
def test_a_server_without_ranges_sends_everything_again(
    sent: dict[str, int], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.ends_at = 100_000
    failure(NAME)
    faults.ends_at, faults.ignores_ranges = None, True
    load(NAME, device="cpu")
    assert sum(weight_bytes(sent).values()) == TOTAL + 3 * 100_000
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("hub")
def test_parts_that_do_not_make_up_the_file_are_dropped(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.ends_at, faults.alter = 100_000, b"?"
    failure(NAME)
    faults.ends_at, faults.alter = None, b""
    monkeypatch.setattr(download, "NUM_CONNECTIONS", 1)
    for shard in SHARDS:
        line = failure(NAME)
        assert f"{shard} is damaged (" in line
        assert line.endswith("; run the same command again: it starts from the beginning")
    load(NAME, device="cpu")
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("hub")
def test_a_slow_server_is_waited_for_with_progress(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, the bar is still printed, line by line."""
    faults.delay_seconds = 0.05
    monkeypatch.setattr(download, "LOG_SECONDS", 0.1)
    load(NAME, device="cpu")
    shown = [int(number) for number in re.findall(rf"Downloading {NAME}: +(\d+)%", capsys.readouterr().err)]
    assert len([number for number in shown if 0 < number < 100]) > 2
    assert shown == sorted(shown)
    assert shown[-1] == 100


@pytest.mark.usefixtures("hub")
def test_a_server_that_stalls_is_given_up(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.delay_seconds = 2.0
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    assert failure(NAME).startswith(f"the download of {NAME} stopped after 0.0 of {TOTAL / 1e6:.1f} MB (timed out)")


@pytest.mark.usefixtures("hub")
def test_the_disk_fills_up_while_downloading(cache: Path, faults: Faults) -> None:
    """Writing to /dev/full fails as a full disk does."""
    faults.ends_at = 0
    failure(NAME)
    for partial in cache.rglob("*.partial"):
        partial.unlink()
        partial.symlink_to("/dev/full")
    faults.ends_at = None
    assert failure(NAME).startswith(f"{NAME} needs more space in {cache}, but only ")


@pytest.mark.usefixtures("hub")
def test_only_what_is_missing_must_fit_on_the_disk(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = shutil.disk_usage(tmp_path)._replace(free=TOTAL - 200_000)
    with monkeypatch.context() as nearly_full:
        nearly_full.setattr(shutil, "disk_usage", lambda _: little)
        assert failure(NAME).startswith(f"{NAME} needs 0.0 GB in ")
    faults.ends_at = 100_000
    failure(NAME)
    faults.ends_at = None
    with monkeypatch.context() as nearly_full:
        nearly_full.setattr(shutil, "disk_usage", lambda _: little)
        load(NAME, device="cpu")
    assert_loads(monkeypatch)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ((401, "GatedRepo"), f"{NAME} is gated; accept its terms at http://127.0.0.1:"),
        ((403, "GatedRepo"), f"{NAME} is gated; accept its terms at http://127.0.0.1:"),
    ],
)
def test_a_public_description_with_refused_files(
    refused: tuple[int, str], message: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub describes a gated repository to everybody, and refuses its files."""
    with serve_hub(repository, refuse_files=refused) as endpoint:
        point_at(endpoint, monkeypatch)
        assert message in failure(NAME)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("kind", ["interrupted", "full"])
def test_auto_says_what_it_fell_back_to_and_why(
    kind: str, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "interrupted":
        faults.ends_at, why = 100_000, f"the download of {LONGVA_7B} stopped after 0.3 of "
    else:
        nothing, why = shutil.disk_usage(tmp_path)._replace(free=0), f"{LONGVA_7B} needs 0.0 GB in "
        monkeypatch.setattr(shutil, "disk_usage", lambda _: nothing)
    chosen = Choice(LONGVA_7B, "none", "a reason")
    loaded = load_or_fall_back(chosen, torch.device("cpu"), torch.float32, "sdpa")
    assert loaded.model_id == "tiny"
    start = f"Using the small built-in model because {LONGVA_7B} could not be loaded ("
    assert loaded.reason.startswith(start + why)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Programs that a test starts react to Ctrl-C, even if the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_what_has_arrived(
    repository: Path,
    clip: Path,
    sent: dict[str, int],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line, interrupted in the middle of a download and run again."""
    faults = Faults(delay_seconds=0.2)
    command = ["ask", str(clip), "What?", "--model", NAME, "--device", "cpu"]
    with serve_hub(repository, sent=sent, faults=faults) as endpoint:
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(cache)}
        program = [sys.executable, "-m", "longva_demo", *command]
        with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while sum(weight_bytes(sent).values()) < 200_000 and time.monotonic() < deadline:
                time.sleep(0.05)
            faults.is_held = True  # on a slow machine the rest could arrive before the signal
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        faults.is_held = False
        assert process.returncode == 130
        assert f"Downloading {NAME}:" in errors
        assert "Traceback" not in errors
        faults.delay_seconds = 0.0
        point_at(endpoint, monkeypatch)
        assert main(command) == 0
    assert capsys.readouterr().out.strip()
    assert TOTAL <= sum(weight_bytes(sent).values()) < TOTAL + 150_000  # what the socket held is lost
