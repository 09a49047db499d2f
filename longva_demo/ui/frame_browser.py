"""The sampled frames on the page: sprite sheets that grow as frames are decoded, one update for many frames."""

import base64
import io
import math
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from longva_demo.ui.widgets import widget
from longva_demo.video import FrameBatch

# (up to this many frames, height of a thumbnail in pixels): the more frames, the smaller each is shown.
SIZES = ((24, 180), (128, 126), (512, 99), (1024, 81), (10**9, 66))
# The best quality with which all sheets together stay below MAX_BYTES; base64 makes 4 bytes of 3.
QUALITIES = (80, 62, 45, 30, 15)
MAX_BYTES = 5_600_000 * 3 // 4
SHEET_COLUMNS = 32
# JPEG ends at 65,535 pixels a side.
MAX_ASPECT = 4.0

SHELL = """
<section class="film" aria-label="Sampled frames" data-state="empty">
  <header class="film-head"><h2>Sampled frames</h2><span class="film-state" role="status"></span></header>
  <div class="film-bar"><i></i></div>
  <p class="film-empty">The frames that the model is given appear here, each with its time, before you ask.</p>
  <ol class="film-frames"></ol>
</section>
"""


def make_frame_browser(elem_id: str) -> gr.HTML:
    """A contact sheet whose frames are buttons that seek the player. Its value is what `Sheets.value` gives."""
    return widget(SHELL, "frame_browser.js", None, elem_id)


class Sheets:
    """Collects thumbnails into JPEG sprite sheets.

    A sheet is closed when it holds half as many frames as are shown already, so that the first frames appear at
    once and 2,000 frames take about 16 updates, each of which repeats what the page has (as unchanged strings,
    which are not sent again).
    """

    def __init__(self, ticket: int, total: int) -> None:
        self.ticket = ticket
        self.total = total
        self.num_done = 0
        self._sheets: list[dict[str, Any]] = []
        self._tiles: list[Image.Image] = []
        self._indices: list[int] = []
        self._seconds: list[float] = []
        self._height = next(height for most, height in SIZES if total <= most)

    def add(self, batch: FrameBatch) -> bool:
        """Take frames, uint8 (frames, height, width, 3); True when a new sheet is ready to be shown."""
        ready = False
        for pixels, index, seconds in zip(batch.pixels, batch.indices, batch.seconds, strict=True):
            self._tiles.append(thumbnail(pixels, self._height))
            self._indices.append(index)
            self._seconds.append(seconds)
            self.num_done += 1
            if len(self._tiles) >= max(4, (self.num_done - len(self._tiles)) // 2):
                self._close_sheet()
                ready = True
        return ready

    def add_picture(self, picture: Image.Image) -> None:
        """A single picture in place of frames: it has no time."""
        self._tiles.append(thumbnail(np.asarray(picture), 320))
        self.num_done = 1

    def value(self, state: str) -> dict[str, Any]:
        """For the frame browser: `state` is "sampling", or "done" when no more frames will come."""
        if state == "done" and self._tiles:
            self._close_sheet()
        return {"run": self.ticket, "state": state, "total": self.total, "sheets": list(self._sheets)}

    def _close_sheet(self) -> None:
        columns = min(SHEET_COLUMNS, len(self._tiles))
        width, height = self._tiles[0].size
        sheet = Image.new("RGB", (columns * width, math.ceil(len(self._tiles) / columns) * height))
        for number, tile in enumerate(self._tiles):
            row, column = divmod(number, columns)
            sheet.paste(tile, (column * width, row * height))
        encoded = encode_jpeg(sheet, MAX_BYTES * len(self._tiles) // max(self.total, 32))
        self._sheets.append(
            {
                "jpeg": base64.b64encode(encoded).decode("ascii"),
                "columns": columns,
                "count": len(self._tiles),
                "width": width,
                "height": height,
                "indices": self._indices,
                "seconds": [round(seconds, 3) for seconds in self._seconds],
            }
        )
        self._tiles, self._indices, self._seconds = [], [], []


def encode_jpeg(picture: Image.Image, most_bytes: int) -> bytes:
    """The first of `QUALITIES` that keeps within `most_bytes`, or the lowest."""
    encoded = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        encoded = file.getvalue()
        if len(encoded) <= most_bytes:
            break
    return encoded


def thumbnail(pixels: np.ndarray, height: int) -> Image.Image:
    """A small picture of a frame, uint8 (height, width, 3), `height` pixels high and at most four times as wide."""
    frame = Image.fromarray(pixels)
    aspect = min(MAX_ASPECT, max(1 / MAX_ASPECT, frame.width / frame.height))
    return frame.resize((max(1, round(height * aspect)), height), Image.Resampling.BILINEAR, reducing_gap=1.5)
