"""Still pictures by their first bytes."""

HEAD_BYTES = 64
PICTURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
}


def picture_kind(head: bytes) -> str | None:
    """The name of the picture format that a file of these first bytes has; None for all others."""
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    for start, kind in PICTURES.items():
        if head.startswith(start) and not (kind == "WebP" and head[8:12] != b"WEBP"):
            return kind
    return None


def is_animated_webp(head: bytes) -> bool:
    return picture_kind(head) == "WebP" and b"ANIM" in head[:HEAD_BYTES]
