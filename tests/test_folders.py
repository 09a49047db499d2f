"""Temporary folders are deleted with their process or by the next one, never while they are in use."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from longva_demo.folders import delete_stale_folders, own_folder, temporary_folder

OWNER = """
import sys
from longva_demo.folders import temporary_folder
folder = temporary_folder("frames")
(folder / "pixels.bin").write_bytes(b"pixels")
print(folder, flush=True)
sys.stdin.read()
"""


def start_owner(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Start another process. Returns it and its temporary folder."""
    environment = {**os.environ, "TMPDIR": str(parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", OWNER], env=environment, text=True, **pipes)  # type: ignore[call-overload]
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_only_folders_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    others = [tmp_path / "longva-demo-main", tmp_path / "gradio", tmp_path / "longva-temporary-unmarked"]
    for other in others:
        other.mkdir()
    (tmp_path / "longva-temporary-file").touch()
    running, kept = start_owner(tmp_path)
    killed, left = start_owner(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (left / "pixels.bin").exists()
    mine = own_folder(tmp_path)
    delete_stale_folders(tmp_path)
    assert not left.parent.exists()
    assert all(path.exists() for path in (*others, mine, kept / "pixels.bin", tmp_path / "longva-temporary-file"))
    running.communicate("")
    assert not kept.parent.exists()


def test_a_deleted_folder_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = temporary_folder("frames")
    assert temporary_folder("frames").parent == first.parent == own_folder()
    shutil.rmtree(first.parent)
    assert temporary_folder("frames").is_dir()
