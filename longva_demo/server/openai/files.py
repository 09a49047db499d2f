"""Files that clients have sent, by their SHA-256. They are deleted like uploads (uploads.py)."""

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from longva_demo.folders import temporary_folder
from longva_demo.quotas import QuotaError
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.spool import Base64File, HashedFile, Incoming, SpoolError

URL = re.compile(r"[a-z][a-z0-9+.-]*://|file:", re.IGNORECASE)
NAME = "input file"  # in error messages; a client's own name for it means nothing to others
FETCH_SECONDS, FETCH_BYTES = 30.0, 1 << 20


class NoRedirects(HTTPRedirectHandler):
    """A host that may be asked could otherwise lead to one that may not."""

    def redirect_request(self, *_: object) -> None:
        return None


class ReceivedFiles:
    """The files on the disk, one folder each.

    free_space: deletes old uploads until so many bytes fit; returns how many do.
    hosts: may be named in the URL of a file.
    """

    def __init__(self, free_space: Callable[[int], int], max_file_bytes: int, hosts: set[str]) -> None:
        self._free_space = free_space
        self._max_file_bytes = max_file_bytes
        self._hosts = hosts
        self._folder: Path | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        with self._lock:
            if self._folder is None or not self._folder.is_dir():
                self._folder = temporary_folder("received")
            return self._folder

    def path_of(self, sha256: str) -> Path:
        """Where the file with this SHA-256 is or will be."""
        return self.folder / sha256 / NAME

    def adopt(self, incoming: Incoming) -> Path:
        """Move a file here that has arrived, unless it is here already. Returns its path."""
        path = self.path_of(incoming.sha256)
        if path.exists():
            incoming.path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            incoming.path.replace(path)
        return path

    def files(self) -> set[Path]:
        return set(self._folder.glob(f"*/{NAME}")) if self._folder is not None else set()

    def find(self, data: str, arrived: dict[str, Incoming], place: str) -> Incoming:
        """The file that a part at `place` of the request carries or names.

        Raises:
            ApiError: it is not base64, or a URL whose host may not be asked.
            QuotaError: there is no space for it.
        """
        if data in arrived:
            return arrived[data]
        target = self.folder / secrets.token_hex(8)
        try:
            if URL.match(data):
                return self._fetch(data, target, place)
            letters = re.sub(r"\s", "", data).encode()
            self._reserve(len(letters))
            file = Base64File(target)
            try:
                file.write(letters)
                return file.finish()
            except SpoolError as error:
                raise ApiError(str(error), place) from None
            finally:
                file.abort()
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _fetch(self, url: str, target: Path, place: str) -> Incoming:
        """Download a file from one of the hosts, without redirects."""
        if urlsplit(url).scheme.lower() not in ("http", "https") or (urlsplit(url).hostname or "") not in self._hosts:
            raise ApiError("the server does not fetch this URL; send the file itself, as a data: URL", place)
        file = HashedFile(target)
        try:
            with build_opener(NoRedirects).open(url, timeout=FETCH_SECONDS) as reply:
                while piece := reply.read(FETCH_BYTES):
                    if file.num_bytes + len(piece) > self._max_file_bytes:
                        raise ApiError("the file at this URL is too large; use a smaller one", place, status=413)
                    self._reserve(len(piece))
                    file.add(piece)
            return file.finish()
        except OSError as error:
            raise ApiError(f"the file cannot be fetched ({type(error).__name__}); check the URL", place) from None
        finally:
            file.abort()

    def _reserve(self, num_bytes: int) -> None:
        if self._free_space(num_bytes) < num_bytes:
            raise QuotaError("the files in use leave no space for this one", "try again later, or send a smaller one")
