"""Folders that must be there and take files: one clear line where they do not."""

import tempfile
from pathlib import Path

from longva_demo.errors import DemoError


def temporary_folder(prefix: str) -> Path:
    """A new one, which the caller deletes.

    Raises:
        DemoError: the disk is full, or the place for temporary files cannot be written to.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
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
