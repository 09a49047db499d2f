"""Writable folders, and this process's folder for temporary files.

Temporary files go into one folder per process, which is deleted when the process ends. After a crash, the next process
deletes it. A running process holds a lock on its folder, which systemd-tmpfiles respects as well. A process id in the
name would not be enough: two containers can share the parent folder and both run as process 1.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

from longva_demo.errors import DemoError

PREFIX = "longva-temporary-"
LOCK_MARKER = "locked"  # this file exists in each folder that was locked; a folder recreated by others lacks both
_own: dict[Path, Path] = {}  # this process's folders, by parent
_creating = threading.Lock()


def own_folder(parent: Path | None = None) -> Path:
    """This process's folder in `parent` (by default the temporary folder), deleted when the process ends.

    It is created again if something deleted it.
    """
    parent = parent or Path(tempfile.gettempdir())
    with _creating:
        if parent not in _own or not _own[parent].is_dir():
            new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
            with contextlib.suppress(OSError):  # without lock support, no process can mistake this folder for stale
                fcntl.flock(os.open(new, os.O_RDONLY), fcntl.LOCK_SH)  # stays open until the process ends
            (new / LOCK_MARKER).touch()
            _own[parent] = new.rename(parent / new.name[1:])  # visible to other processes only once it is locked
            atexit.register(shutil.rmtree, _own[parent], ignore_errors=True)
        return _own[parent]


def own_files() -> set[Path]:
    """All files in this process's folders."""
    walks = (os.walk(folder) for folder in list(_own.values()))  # ignores what is deleted meanwhile
    return {Path(folder, name) for walk in walks for folder, _, names in walk for name in names}


def delete_stale_folders(parent: Path) -> None:
    """Delete the folders in `parent` that this user's killed processes left; those of running processes are locked."""
    for marker in parent.glob(f"{PREFIX}*/{LOCK_MARKER}"):
        folder = marker.parent
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # locked, or not accessible
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(prefix: str) -> Path:
    """A new folder inside this process's folder. The caller deletes it.

    Raises:
        DemoError: the disk is full, or the temporary folder is not writable.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=own_folder()))
    except OSError as error:
        message = f"cannot write to {tempfile.tempdir or 'the temporary folder'} ({error.strerror or error})"
        raise DemoError(message, "free some space there, or set TMPDIR to another folder") from error


def check_writable(folder: Path, variable: str) -> None:
    """Create the folder if it is missing, and test that it is writable. `variable` is the setting that changes it.

    Raises:
        DemoError: the folder is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"a file")
    except OSError as error:
        message = f"cannot write to {folder} ({error.strerror or error})"
        raise DemoError(message, f"free some space there, or set {variable} to another folder") from error
