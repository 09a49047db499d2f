"""Locates a model's files: a folder, the built-in weights, or the Hugging Face Hub and its cache."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    SafetensorsParsingError,
)

from longva_demo.errors import ModelError, one_line, replace_surrogates, short
from longva_demo.model.checkpoint_files import (
    INDEX,
    SINGLE,
    check_texts,
    read_header,
    read_object,
    weight_files,
)
from longva_demo.model.download import RemoteFile, TransportError, fetch, find_weights
from longva_demo.model.supported import check_generation, check_supported
from longva_demo.model.tokenizer_parts import check_tokenizer
from longva_demo.model.tower import CLIP_NAME, candidate_folders, find_tower_file, infer_vision_config

TEXTS = ["*.json", "*.txt", "*.jinja"]
FILES = [*TEXTS, "*.safetensors"]
PROBE_SECONDS = 3.0
TINY_FOLDER = Path(__file__).parents[1] / "tiny" / "weights"
USE_ANOTHER = "use lmms-lab/LongVA-7B-DPO or another LongVA checkpoint"


def hub_cache() -> Path:
    return Path(constants.HF_HUB_CACHE)


def can_reach(repo_id: str) -> bool:
    """Whether the Hub responds for this repository within PROBE_SECONDS."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().model_info(repo_id, timeout=PROBE_SECONDS)
    except Exception:  # "auto" must not fail, whatever the cause
        return False
    return True


def find_cached(repo_id: str) -> Path | None:
    """The folder of a fully downloaded repository, or None. Does not use the network."""
    try:
        folder = Path(snapshot_download(repo_id, local_files_only=True, allow_patterns=FILES))
        check_complete(folder)
    except (OSError, ValueError, ModelError):
        return None
    return folder


def locate(model_id: str, check_fit: Callable[[dict[str, Any], int], object] | None = None) -> Path:
    """The folder with a model's files, downloaded if necessary (progress goes to standard error).

    Args:
        check_fit: called before a download with the contents of config.json and the size of the weights in bytes;
            raises ModelError if the model would not fit.
    Raises:
        ModelError: the folder or repository does not exist, is unreachable or incomplete, or the disk is full.
    """
    if model_id == "tiny":
        if not TINY_FOLDER.is_dir():
            raise ModelError(f"the built-in model is missing from {TINY_FOLDER}", "reinstall the package")
        folder = TINY_FOLDER
    elif Path(model_id).expanduser().is_dir():
        folder = Path(model_id).expanduser()
        if replace_surrogates(str(folder)) != str(folder):
            raise ModelError(f"{folder} is not valid UTF-8, which safetensors cannot open", "rename the folder")
    elif model_id.startswith((".", "/", "~")) or model_id.count("/") != 1:
        raise ModelError(
            f"there is no folder {model_id!r}", "use a folder, a Hub name such as lmms-lab/LongVA-7B-DPO, or tiny"
        )
    else:
        folder = find_cached(model_id) or download(model_id, check_fit)
    check_complete(folder)
    check_config(folder / "config.json", str(folder))
    if folder != TINY_FOLDER:
        with broken_files():
            check_generation(folder)
            check_tokenizer(folder, TINY_FOLDER)
    return folder


def locate_texts(model_id: str, revision: str = "") -> Path:
    """The folder with a model's configuration and tokenizer, downloaded if necessary. Its weights may be missing.

    Args:
        revision: the Hub's commit; "" for the newest.
    Raises:
        ModelError: the folder or repository does not exist, is unreachable or incomplete.
    """
    if model_id == "tiny" or Path(model_id).expanduser().is_dir():
        folder = TINY_FOLDER if model_id == "tiny" else Path(model_id).expanduser()
    elif model_id.count("/") != 1 or model_id.startswith((".", "/", "~")):
        raise ModelError(f"there is no folder {model_id!r}", "use the Hub name or the folder of the model")
    else:
        with hub_errors(model_id):
            folder = Path(snapshot_download(model_id, revision=revision or None, allow_patterns=TEXTS))
    with broken_files():
        check_texts(folder)
        if not {"tokenizer.json", "vocab.json"} & {file.name for file in folder.iterdir()}:
            raise ValueError(f"{folder} has no tokenizer.json or vocab.json")
        check_config(folder / "config.json", str(folder))
        check_tokenizer(folder, TINY_FOLDER)
    return folder


def download(repo_id: str, check_fit: Callable[[dict[str, Any], int], object] | None = None) -> Path:
    """Download a repository's files from the Hub into its cache."""
    with hub_errors(repo_id):
        fetch(repo_id, check_repository(repo_id, check_fit))
        return Path(snapshot_download(repo_id, allow_patterns=FILES))


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn errors of the Hub into an error for users."""
    url = f"{constants.ENDPOINT}/{repo_id}"
    try:
        yield
    except GatedRepoError:
        raise ModelError(f"{repo_id} is gated", f"accept its terms at {url} and log in with: hf auth login") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"the Hub has no model {repo_id!r} that you can access",
            "check the name, or if it is private, log in with: hf auth login",
        ) from None
    except HFValidationError:
        raise ModelError(f"{repo_id!r} is not a valid model name", "use owner/name") from None
    except (LocalEntryNotFoundError, TransportError, ConnectionError) as error:
        why = "the Hub is disabled (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else f"{url} is unreachable"
        raise ModelError(
            f"{repo_id} is not in the cache and {why}",
            "go online and try again, use a folder with its files, or use --model tiny",
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(repo_id) from error
        message = f"cannot write {repo_id} to {hub_cache()} ({error.strerror or error})"
        raise ModelError(message, "set HF_HOME to a writable folder, or use --model tiny") from error


def check_repository(
    repo_id: str, check_fit: Callable[[dict[str, Any], int], object] | None = None
) -> list[RemoteFile]:
    """The weights to download. Raises ModelError if they would be useless, or do not fit in memory or on the disk."""
    if constants.HF_HUB_OFFLINE:
        return []
    info = HfApi().model_info(repo_id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    files = [file.rfilename for file in info.siblings or []]
    check_names(files, repo_id)
    config = Path(hf_hub_download(repo_id, "config.json", revision=info.sha))
    check_config(config, repo_id)
    check_tower(read_json(config), repo_id, info.sha, files)
    weights = find_weights(repo_id, info.sha or "main", files)
    num_bytes = sum(max(0, file.num_bytes - file.num_present) for file in weights)
    folder = hub_cache()
    folder.mkdir(parents=True, exist_ok=True)
    if num_bytes > shutil.disk_usage(folder).free:
        raise disk_full(repo_id, num_bytes)
    if check_fit is not None:
        check_fit(read_json(config), sum(file.num_bytes for file in weights))
    return weights


def check_tower(values: dict[str, Any], repo_id: str, revision: str | None, files: Collection[str]) -> None:
    """Raise ModelError if the shape of a repository's vision tower would still be unknown after the download.

    The weight headers are fetched only if the tower's name is unknown and the repository has no config.json for it.
    """
    name = values.get("mm_vision_tower", CLIP_NAME)
    has_config = any((place / "config.json").as_posix() in files for place in candidate_folders(Path(), str(name)))
    if isinstance(values.get("vision_config"), dict) or has_config or find_tower_file("", str(name), "config.json"):
        return
    if infer_vision_config(str(name), {}) is not None:
        return
    if infer_vision_config(str(name), remote_shapes(repo_id, revision, files)) is None:
        what = f"the shape of its vision tower {short(name)} is unknown"
        raise ModelError(f"{repo_id} cannot be loaded: {what}", USE_ANOTHER)


def remote_shapes(repo_id: str, revision: str | None, files: Collection[str]) -> dict[str, Sequence[int]]:
    """Names and shapes of a repository's tensors. Fetches only the headers of its files."""
    shapes: dict[str, Sequence[int]] = {}
    for file in files:
        if "/" in file or not file.endswith(".safetensors"):
            continue
        try:
            header = HfApi().parse_safetensors_file_metadata(repo_id, file, revision=revision)
        except SafetensorsParsingError:
            raise ModelError(f"{file} of {repo_id} is not a safetensors file", USE_ANOTHER) from None
        shapes |= {name: tensor.shape for name, tensor in header.tensors.items()}
    return shapes


def disk_full(repo_id: str, num_bytes: int | None = None) -> ModelError:
    size = "more space" if num_bytes is None else f"{num_bytes / 1e9:.1f} GB"
    free = shutil.disk_usage(hub_cache()).free / 1e9
    return ModelError(
        f"{repo_id} needs {size} in {hub_cache()}, but only {free:.1f} GB are free",
        "free some disk space, or set HF_HOME to a larger disk",
    )


def read_json(file: Path) -> dict[str, Any]:
    """As `read_object`, for users."""
    with broken_files():
        return read_object(file)


@contextmanager
def broken_files(remedy: str = "download the model again") -> Iterator[None]:
    """Turn what is wrong with a checkpoint's files into an error for users."""
    try:
        yield
    except ValueError as error:
        raise ModelError(one_line(str(error)), remedy) from error


def check_names(names: Collection[str], place: str) -> None:
    """Raise ModelError unless these file names make up a checkpoint. `place` is the folder or repository."""
    if "config.json" not in names and "adapter_config.json" in names:
        raise ModelError(
            f"{place} is a LoRA adapter, not a model", "download its files, and use --model with their folder"
        )
    if "config.json" not in names:
        raise ModelError(f"{place} has no config.json", "use the folder that contains the model's files")
    if not {INDEX, SINGLE} & set(names):
        pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth")))
        if pickles:
            message = f"{place} stores its weights in {pickles[0]}, a pickle, which could run code and is not loaded"
            raise ModelError(message, f"convert them to safetensors, or {USE_ANOTHER}")
        raise ModelError(f"{place} has no {SINGLE}", "download the model again")
    if not {"tokenizer.json", "vocab.json"} & set(names):
        raise ModelError(f"{place} has no tokenizer.json or vocab.json", "download the model again")


def check_complete(folder: Path) -> None:
    """Raise ModelError unless `folder` contains all files of a checkpoint, none of which would hang its reader."""
    with broken_files():
        check_texts(folder)
        check_names([file.name for file in folder.iterdir() if file.exists()], str(folder))
        missing = [file.name for file in weight_files(folder) if not file.exists()]
    if missing:
        raise ModelError(f"{folder} is missing {', '.join(missing[:3])}", "download the model again")


def check_config(file: Path, place: str) -> None:
    """Raise ModelError unless a config.json is that of a supported LongVA."""
    values = read_json(file)
    model_type = values.get("model_type")
    if model_type != "llava_qwen":
        raise ModelError(f"{place} is a model of type {short(model_type)}, not LongVA (llava_qwen)", USE_ANOTHER)
    try:
        check_supported(values)
    except ValueError as error:
        raise ModelError(f"{place} cannot be loaded: {error}", USE_ANOTHER) from None


def check_weights(folder: Path) -> None:
    """Raise ModelError if the size of a weight file does not match its own header."""
    with broken_files("delete it and download the model again"):
        for file in weight_files(folder):
            read_header(file)


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in weight_files(folder))


def revision_of(folder: Path) -> str:
    """Identify a model's revision: the Hub's commit, or a hash of the weights.

    A cached repository is at `.../models--owner--name/snapshots/<commit>`. For large files elsewhere, only the size,
    the first and the last megabyte are hashed: enough to distinguish training runs, in well under a second.
    """
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        return folder.name
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in weight_files(folder):
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as stream:
            if size > 64 * 1024**2:
                digest.update(stream.read(1024**2))
                stream.seek(-(1024**2), os.SEEK_END)
            digest.update(stream.read())
    return digest.hexdigest()[:16]
