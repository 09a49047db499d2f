"""Folders that must be there and take files: one clear line where they do not.

What this process keeps for a while lies in a folder of its own, which goes with it; after a crash, the next one sees to
that. As long as the process lives it holds a lock on the folder, as systemd-tmpfiles knows it too: a number in the name
would not do, since two containers may share the place and both be process 1.
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
MARK = "locked"  # in a folder that was; one that was cleaned away and came back by itself has no lock and no mark
_own: dict[Path, Path] = {}  # this process's folders, by what they lie in
_making = threading.Lock()


def own_folder(place: Path | None = None) -> Path:
    """This process's folder in `place` (the one for temporary files), deleted when it ends.

    It is made anew where somebody cleaned it away.
    """
    place = place or Path(tempfile.gettempdir())
    with _making:
        if place not in _own or not _own[place].is_dir():
            new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))
            with contextlib.suppress(OSError):  # where there are no locks, nobody takes this one for left behind either
                fcntl.flock(os.open(new, os.O_RDONLY), fcntl.LOCK_SH)  # stays open to the process's end
            (new / MARK).touch()
            _own[place] = new.rename(place / new.name[1:])  # seen by others only now that it is locked
            atexit.register(shutil.rmtree, _own[place], ignore_errors=True)
        return _own[place]


def own_files() -> set[Path]:
    """All that lies in this process's folders."""
    walks = (os.walk(folder) for folder in list(_own.values()))  # it passes over what goes meanwhile
    return {Path(folder, name) for walk in walks for folder, _, names in walk for name in names}


def delete_leftovers(place: Path) -> None:
    """Delete the folders in `place` of this user's processes that were killed; those of running ones are locked."""
    for mark in place.glob(f"{PREFIX}*/{MARK}"):
        folder = mark.parent
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # locked, or not to be opened
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(prefix: str) -> Path:
    """A new one in this process's own, which the caller deletes.

    Raises:
        DemoError: the disk is full, or the place for temporary files cannot be written to.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=own_folder()))
    except OSError as error:
        place = f"{tempfile.tempdir or 'the temporary folder'} takes no files ({error.strerror or error})"
        raise DemoError(place, "free some space there, or set TMPDIR to another folder") from error


def check_writable(folder: Path, variable: str) -> None:
    """Make the folder where it is missing, and write to it; `variable` names another one.

    Raises:
        DemoError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"a file")
    except OSError as error:
        line = f"{folder} takes no files ({error.strerror or error})"
        raise DemoError(line, f"free some space there, or set {variable} to another folder") from error
