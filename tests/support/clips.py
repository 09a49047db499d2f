"""Small clips for tests."""

from pathlib import Path

import av
from PIL import Image, ImageDraw


def write_clip(path: Path, seconds: float, fps: int = 10, size: tuple[int, int] = (320, 180)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast"}
        count = round(seconds * fps)
        for number in range(count):
            picture = Image.new("RGB", size, "navy")
            left = (size[0] - 60) * number / count
            ImageDraw.Draw(picture).ellipse((left, 60, left + 60, 120), "orange")
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path
