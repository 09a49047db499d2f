"""JSON that carries files: long base64 strings are decoded to the disk while the request arrives.

A video of 500 MB thus takes as little memory as one that is uploaded. In the JSON that remains, a reference replaces
the string.
"""

import base64
import binascii
import hashlib
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from longva_demo.chat.prompt import MAX_CHARACTERS
from longva_demo.folders import temporary_folder

# A longer string of base64 letters is a file: it would be too long for a question. Shorter ones stay in the JSON.
MAX_TEXT_BYTES = MAX_CHARACTERS
MAX_DATA_URL_BYTES = 1024
SLICE_BYTES = 16 * 1024  # a string that ends within a slice stays in the JSON too
DATA_URL = rb"data:(?:[^,\"\\]|\\/){0,200},"
BASE64 = re.compile(rb"(?:" + DATA_URL + rb")?(?:[A-Za-z0-9+/=_-]|\\[/rn])*+\\?")
END_OF_STRING = re.compile(rb'["\\]')
ESCAPES = {b"\\/": b"/", b"\\n": b"", b"\\r": b""}
URL_SAFE = bytes.maketrans(b"-_", b"+/")
NOT_BASE64 = "a file in the request is not valid base64; encode it again"


class SpoolError(ValueError):
    """The request is not valid; the text is for the client."""


@dataclass(frozen=True)
class Incoming:
    """A file that has arrived."""

    path: Path
    sha256: str  # of its bytes, in hexadecimal


class HashedFile:
    """A file that is being written, with its SHA-256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
        self.num_bytes += len(data)

    def finish(self) -> Incoming:
        self._file.close()
        return Incoming(self.path, self._digest.hexdigest())

    def abort(self) -> None:
        self._file.close()


class Base64File(HashedFile):
    """Decodes base64, with or without `data:…;base64,` before it, as it stands in a JSON string."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._rest = b""  # less than four letters, or an escape that is not complete
        self._is_first = True
        self._is_padded = False

    def write(self, text: bytes) -> None:
        """Decode more of the text. The first piece contains all of the prefix.

        Raises:
            SpoolError: it is not base64.
        """
        if self._is_first:
            text = re.sub(rb"\A" + DATA_URL, b"", text)
            self._is_first = False
        text = self._rest + text
        self._rest = b""
        if b"\\" in text:
            for escape, letter in ESCAPES.items():
                text = text.replace(escape, letter)
            if text.endswith(b"\\"):
                text, self._rest = text[:-1], b"\\"
        whole = len(text) // 4 * 4
        self._rest = text[whole:] + self._rest
        self._decode(text[:whole])

    def finish(self) -> Incoming:
        """The padding may be missing.

        Raises:
            SpoolError: it is not base64.
        """
        self._decode(self._rest + b"=" * (-len(self._rest) % 4))
        return super().finish()

    def _decode(self, letters: bytes) -> None:
        if not letters:
            return
        try:
            data = base64.b64decode(letters.translate(URL_SAFE), validate=True)
        except binascii.Error:
            raise SpoolError(NOT_BASE64) from None
        if self._is_padded:
            raise SpoolError(NOT_BASE64)
        self._is_padded = letters.endswith(b"=")
        self.add(data)


class Spool:
    """One request. `rest` is its JSON with a reference for each file; `files` are those files, by reference."""

    def __init__(self) -> None:
        self.rest = bytearray()
        self.files: dict[str, Incoming] = {}
        self._folder: Path | None = None
        self._secret = secrets.token_hex(16)  # so that no client can write a reference itself
        self._file: Base64File | None = None
        self._string: int | None = None  # where the current string begins in `rest`
        self._is_text = False  # the current string is long, but not a file
        self._is_escaped = False  # a backslash was the last byte

    def feed(self, piece: bytes) -> int:
        """Take the next bytes of the request. Returns how many bytes were written to files.

        Raises:
            SpoolError: a file is not base64.
            OSError: the disk is full.
        """
        return sum(self._feed(piece[at : at + SLICE_BYTES]) for at in range(0, len(piece), SLICE_BYTES))

    def close(self) -> None:
        """Delete what nobody has moved elsewhere."""
        if self._file is not None:
            self._file.abort()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _feed(self, piece: bytes) -> int:
        at = num_written = 0
        while at < len(piece):
            if self._file is not None:
                before = self._file.num_bytes
                file, at = self._file, self._feed_file(self._file, piece, at)
                num_written += file.num_bytes - before
            elif self._string is not None:
                at = self._feed_string(piece, at)
                num_written += self._begin_file_if_long()
            else:
                end = piece.find(b'"', at) + 1 or len(piece)
                self.rest += piece[at:end]
                if piece[end - 1 : end] == b'"':
                    self._string, self._is_text = len(self.rest), False
                at = end
        return num_written

    def _feed_string(self, piece: bytes, at: int) -> int:
        """Take bytes up to the end of the string, or of the piece. Returns where they end."""
        start = at
        if self._is_escaped:
            self._is_escaped, at = False, at + 1
        while found := END_OF_STRING.search(piece, at):
            at = found.end()
            if found[0] == b'"':
                self._string = None
                break
            self._is_escaped = at == len(piece)
            at += 1
        else:
            at = len(piece)
        self.rest += piece[start:at]
        return at

    def _begin_file_if_long(self) -> int:
        """Move the current string into a file if it is one. Returns how many bytes were written."""
        if self._string is None or self._is_text:
            return 0
        size = len(self.rest) - self._string
        is_data_url = self.rest.startswith(b"data:", self._string)
        if size <= (MAX_DATA_URL_BYTES if is_data_url else MAX_TEXT_BYTES):
            return 0
        text = bytes(self.rest[self._string :])
        if not BASE64.fullmatch(text):
            self._is_text = True
            return 0
        self._folder = self._folder or temporary_folder("incoming")
        self._file = Base64File(self._folder / str(len(self.files)))
        self._file.write(text)
        del self.rest[self._string :]
        self._string, self._is_escaped = None, False
        return self._file.num_bytes

    def _feed_file(self, file: Base64File, piece: bytes, at: int) -> int:
        """Decode up to the end of the string, or of the piece. Returns where they end."""
        end = piece.find(b'"', at)
        file.write(piece[at : end if end >= 0 else len(piece)])
        if end < 0:
            return len(piece)
        reference = f"{self._secret}/{len(self.files)}"
        self.files[reference] = file.finish()
        self._file = None
        self.rest += f'{reference}"'.encode()
        return end + 1
