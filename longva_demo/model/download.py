"""Downloads a checkpoint's weights into the Hub's cache. An interrupted download continues where it stopped.

huggingface_hub 2 deletes its partial files when a download fails, so a lost connection could cost four shards of 4 GB.
"""

import hashlib
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status, tqdm

from longva_demo.errors import ModelError, one_line

# The HTTP client's base error: httpx's or httpx2's, depending on the version of huggingface_hub.
TransportError: type[Exception] = HfHubHTTPError.__mro__[1]
NUM_CONNECTIONS = 4  # the shards of LongVA-7B
MAX_FAILURES = 5  # in a row, without a byte between them
RETRY_SECONDS = 1.0
SHA256_DIGITS = 64
TERMINAL_SECONDS, LOG_SECONDS = 0.2, 10.0  # between two reports of progress, on a terminal and elsewhere

Advance = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, with its place in the Hub's cache. `partial` holds its first bytes until it is complete.

    `blob` is named by the file's ETag: the SHA-256 of the contents of a large file.
    """

    url: str
    blob: Path
    lock: Path
    num_bytes: int

    @property
    def partial(self) -> Path:
        return self.blob.with_name(f"{self.blob.name}.partial")

    @property
    def num_present(self) -> int:
        """Bytes that need not be downloaded again."""
        return next((file.stat().st_size for file in (self.blob, self.partial) if file.exists()), 0)


def find_remote_file(repo_id: str, revision: str, name: str) -> RemoteFile:
    """Ask the Hub for the size and the ETag of a file."""
    url = hf_hub_url(repo_id, name, revision=revision)
    found = get_hf_file_metadata(url, headers=build_hf_headers())
    if not found.size or not found.etag or "/" in found.etag:
        raise ModelError(f"{url} has no size or ETag", "check HF_ENDPOINT, or download the files by hand")
    cache, folder = Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=repo_id, repo_type="model")
    lock = cache / ".locks" / folder / f"{found.etag}.lock"  # the one that huggingface_hub uses
    return RemoteFile(url, cache / folder / "blobs" / found.etag, lock, found.size)


def find_weights(repo_id: str, revision: str, names: Collection[str]) -> list[RemoteFile]:
    """The safetensors files at the top of a repository."""
    weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    return [find_remote_file(repo_id, revision, name) for name in sorted(weights)]


def fetch(repo_id: str, files: Sequence[RemoteFile]) -> None:
    """Download what is missing of these files, with one progress bar on standard error.

    Raises:
        ModelError: the connection was lost. What has arrived is kept, and the next call continues from there.
        OSError: the disk is full, or the cache is not writable.
    """
    missing = [file for file in files if not file.blob.exists()]
    if not missing:
        return
    total = sum(file.num_bytes for file in files)
    stop, lock = threading.Event(), threading.Lock()
    with tqdm(
        desc=f"Downloading {repo_id}",
        total=total,
        initial=sum(file.num_present for file in files),
        unit="B",
        unit_scale=True,
        mininterval=TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS,
        disable=False,
    ) as bar:

        def advance(num_bytes: int) -> None:
            with lock:
                bar.update(num_bytes)

        with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
            futures = [pool.submit(fetch_file, file, advance, stop) for file in missing]
            try:
                for future in as_completed(futures):
                    future.result()
            except TransportError as error:
                if is_final(error):
                    raise
                raise interrupted(repo_id, files, total, error) from error
            finally:
                stop.set()  # after an error or Ctrl-C, the other files stop too


def interrupted(repo_id: str, files: Sequence[RemoteFile], total: int, error: Exception) -> ModelError:
    unit, size = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
    done = sum(file.num_present for file in files) / size
    why = one_line(str(error))[:150] or type(error).__name__
    message = f"the download of {repo_id} stopped after {done:.1f} of {total / size:.1f} {unit} ({why})"
    return ModelError(message, "run the same command again: it continues from there")


def fetch_file(file: RemoteFile, advance: Advance, stop: threading.Event) -> None:
    """Download the rest of a file, and move it to its place in the cache. Ends early once `stop` is set."""
    file.blob.parent.mkdir(parents=True, exist_ok=True)
    file.lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(file.lock):
        if file.blob.exists():  # another process was faster
            return
        with file.partial.open("ab") as target:
            num_kept = target.tell()
            receive_all(file, target, advance, stop)
        if stop.is_set():
            return
        check_contents(file, was_resumed=num_kept > 0)
        file.partial.replace(file.blob)


def receive_all(file: RemoteFile, target: BinaryIO, advance: Advance, stop: threading.Event) -> None:
    """Receive the rest of a file, again after each failure, unless several in a row bring nothing."""
    num_failures = 0
    while (start := target.tell()) < file.num_bytes and not stop.is_set():
        try:
            receive(file, target, advance, stop)
        except TransportError as error:
            num_failures = 0 if target.tell() > start else num_failures + 1
            if num_failures >= MAX_FAILURES or is_final(error):
                raise
            stop.wait(RETRY_SECONDS)


def receive(file: RemoteFile, target: BinaryIO, advance: Advance, stop: threading.Event) -> None:
    start = target.tell()
    headers = build_hf_headers() | {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
    with get_session().stream("GET", file.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:  # partial content; this server sends the whole file
            target.seek(0)
            target.truncate()
            advance(-start)
        for chunk in response.iter_raw():
            target.write(chunk)
            advance(len(chunk))
            if stop.is_set():
                return


def is_final(error: Exception) -> bool:
    """Whether the server refused the request, so that trying again is useless."""
    if not isinstance(error, HfHubHTTPError):
        return False
    return error.response.status_code < 500 and error.response.status_code not in (408, 429)


def check_contents(file: RemoteFile, was_resumed: bool) -> None:
    """Raise ModelError if a file that arrived in several parts is not the one on the Hub."""
    num_bytes = file.partial.stat().st_size
    is_right = num_bytes == file.num_bytes
    if is_right and was_resumed and len(file.blob.name) == SHA256_DIGITS:
        with file.partial.open("rb") as contents:
            is_right = hashlib.file_digest(contents, "sha256").hexdigest() == file.blob.name
    if not is_right:
        file.partial.unlink()
        message = f"the download of {file.url} is damaged ({num_bytes:,} of {file.num_bytes:,} bytes)"
        raise ModelError(message, "run the same command again: it starts from the beginning")
