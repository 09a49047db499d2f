"""AVIF pictures that Pillow rejects because HDR metadata, such as an mdcv box, is marked as essential.

FFmpeg reads them, but does not assemble tiles or apply transparency. It is the fallback, for pictures without either.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from longva_demo.video.magic import HEAD_BYTES, picture_kind

HDR_BOXES = (b"mdcv", b"clli", b"amve", b"cclv")
DESCRIPTION_BYTES = 1 << 16


def read_plain_avif(path: Path, max_pixels: int) -> Image.Image | None:
    """The picture in RGB, as displayed. None unless it is an AVIF with HDR metadata and a single coded image."""
    with path.open("rb") as file:
        head = file.read(DESCRIPTION_BYTES)
    if picture_kind(head[:HEAD_BYTES]) != "AVIF" or not any(box in head for box in HDR_BOXES):
        return None
    import av  # slow to import, and Pillow reads most pictures

    from longva_demo.video._ffmpeg.orientation import orientation_of
    from longva_demo.video._ffmpeg.pictures import PictureWriter

    try:
        with av.open(f"file:{path}", format="mov", options={"protocol_whitelist": "file"}) as container:
            streams = container.streams.video
            if len(streams) != 1 or streams[0].width * streams[0].height > max_pixels:
                return None
            frame = next(container.decode(streams[0]))
    except (av.error.FFmpegError, StopIteration):
        return None
    width, height = frame.width, frame.height
    if orientation_of(frame).is_sideways:
        width, height = height, width
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    PictureWriter(width, height, (1.0, 1.0)).write(frame, pixels)
    return Image.fromarray(pixels)
