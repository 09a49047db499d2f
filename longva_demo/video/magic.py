"""Picture formats, recognised by the first bytes of a file."""

import os
import struct
from pathlib import Path

HEAD_BYTES = 64
PICTURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
    b"\0\0\1\0": "ICO",
}
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avci", b"avcs")
MAX_BOXES = 1000


def picture_kind(head: bytes) -> str | None:
    """The picture format of a file that starts with these bytes; None if it is not a picture.

    AVIF and HEIC files may also be videos: those have a moov box (`has_movie`).
    """
    if head[4:8] == b"ftyp":
        if head[8:12] in AVIF_BRANDS:
            return "AVIF"
        is_avif = head[8:12] in HEIC_BRANDS and any(brand in head for brand in AVIF_BRANDS)
        return "AVIF" if is_avif else "HEIC" if head[8:12] in HEIC_BRANDS else None
    kind = next((kind for start, kind in PICTURES.items() if head.startswith(start)), None)
    if (kind == "WebP" and head[8:12] != b"WEBP") or (kind == "ICO" and head[5:6] != b"\0"):  # else MPEG: a frame
        return None
    return kind


def has_movie(path: Path) -> bool:
    """Whether a file of MP4 boxes has tracks (a moov box), not just still images."""
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        for _ in range(MAX_BOXES):
            head = file.read(16)
            if len(head) < 8:
                return False
            size, kind = struct.unpack(">I4s", head[:8])
            if kind == b"moov":
                return True
            if size == 1 and len(head) == 16:
                (size,) = struct.unpack(">Q", head[8:])
            if not 8 <= size <= size_bytes:  # 0: extends to the end of the file; else invalid (a seek by 2**63 fails)
                return False
            file.seek(size - len(head), 1)
    return False


def is_animation(path: Path) -> bool:
    """Whether the file is an animated WebP (RFC 9649, 2.7) or AVIF, which `_ffmpeg.animation` decodes."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = picture_kind(head)
    is_animated_webp = kind == "WebP" and head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return is_animated_webp or (kind == "AVIF" and has_movie(path))
