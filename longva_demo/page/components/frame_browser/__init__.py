"""The sampled frames on the page: sprite sheets that stream to the browser while frames are decoded.

They use an HTTP response of their own. Gradio would send them as text, compare that text after every change of the
page, and may drop one of two updates in short succession.
"""

import asyncio
import io
import json
import math
import secrets
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import gradio as gr
import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from longva_demo.page.components.component import make_component
from longva_demo.page.jpeg import jpeg_bytes
from longva_demo.page.transcript import Value
from longva_demo.parallel import in_threads
from longva_demo.quotas import Holding
from longva_demo.video import FrameBatch

# (up to this many frames, height of a thumbnail in pixels): the more frames, the smaller each is shown.
SIZES = ((24, 180), (128, 126), (512, 99), (1024, 81), (10**9, 66))
# The best quality at which all sheets together stay below MAX_BYTES is used.
QUALITIES = (80, 62, 45, 30, 15)
MAX_BYTES = 5_000_000
ROUTE = "/longva/frames/{token}"
POLL_SECONDS = 0.05
# Between two messages with the number of decoded frames, which are sent while no sheet is complete.
PROGRESS_SECONDS = 1.0
SHEET_COLUMNS = 32
# JPEG allows at most 65,535 pixels per side.
MAX_ASPECT = 4.0


def make_frame_browser(elem_id: str) -> gr.HTML:
    """A contact sheet whose frames are buttons that seek the player. Its value: `SampledView.value`, or None.

    Event: `closer` with `start` and `end` in seconds, the range around a frame.
    """
    return make_component("frame_browser", None, elem_id, helpers=("sheets.js", "loupe.js"))


class Sheets:
    """Collects thumbnails into JPEG sprite sheets, for one visitor, one video and one budget.

    A sheet is complete when it holds half as many frames as the sheets before it. The first frames thus appear at once,
    and 2,000 frames need about 16 sheets. Anyone with the random token can fetch them while this object exists.
    """

    def __init__(self, total: int, held: Holding | None = None) -> None:
        """`held` counts the bytes of the sheets."""
        self._held = held
        self.token = secrets.token_hex(16)
        self.total = total
        self.num_done = 0
        self.is_finished = False
        self._unclaimed = threading.Semaphore()
        self._records: list[bytes] = []
        self._tiles: list[Image.Image] = []
        self._indices: list[int] = []
        self._seconds: list[float] = []
        self._height = next(height for most, height in SIZES if total <= most)

    @property
    def value(self) -> Value:
        """What the page needs to fetch them."""
        return {"token": self.token, "total": self.total}

    def claim(self) -> bool:
        """True for the first caller, who then fills the sheets."""
        return self._unclaimed.acquire(blocking=False)

    def tile_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the thumbnails for frames of this size."""
        return thumbnail_size(width, height, self._height)

    def add(self, batch: FrameBatch) -> None:
        """Add frames, uint8 (frames, height, width, 3), of any size."""
        size = self.tile_size(batch.pixels.shape[2], batch.pixels.shape[1])
        tiles = in_threads(lambda pixels: thumbnail(pixels, size), batch.pixels)
        for tile, index, seconds in zip(tiles, batch.indices, batch.seconds, strict=True):
            self._tiles.append(tile)
            self._indices.append(index)
            self._seconds.append(seconds)
            self.num_done += 1
            if len(self._tiles) >= max(4, (self.num_done - len(self._tiles)) // 2):
                self._close_sheet()

    def add_picture(self, picture: Image.Image) -> None:
        """Add a single picture instead of frames. It has no time."""
        self._tiles.append(thumbnail(np.asarray(picture), thumbnail_size(*picture.size, 320)))
        self.num_done = 1

    def finish(self) -> None:
        """Complete the last sheet. No more frames follow."""
        if self._tiles:
            self._close_sheet()
        self.is_finished = True

    def thumbnails(self) -> Iterator[tuple[Image.Image, float]]:
        """The thumbnails so far, each with its time in seconds."""
        for record in list(self._records):
            header_length, _ = struct.unpack_from(">II", record)
            facts = json.loads(record[8 : 8 + header_length])
            width, height = facts["width"], facts["height"]
            with Image.open(io.BytesIO(record[8 + header_length :])) as sheet:
                for number, seconds in enumerate(facts["seconds"]):
                    row, column = divmod(number, facts["columns"])
                    left, top = column * width, row * height
                    yield sheet.crop((left, top, left + width, top + height)), seconds

    async def stream(self) -> AsyncIterator[bytes]:
        """All sheets, those still to come included, and meanwhile how many frames are decoded. See `make_record`."""
        sent, num_told, told_at = 0, 0, time.monotonic()
        while True:
            was_finished = self.is_finished
            while sent < len(self._records):
                yield self._records[sent]
                sent += 1
            if was_finished:
                return
            if self.num_done != num_told and time.monotonic() - told_at >= PROGRESS_SECONDS:
                num_told, told_at = self.num_done, time.monotonic()
                yield make_record({"count": 0, "done": num_told})
            await asyncio.sleep(POLL_SECONDS)

    def _close_sheet(self) -> None:
        columns = min(SHEET_COLUMNS, len(self._tiles))
        width, height = self._tiles[0].size
        sheet = Image.new("RGB", (columns * width, math.ceil(len(self._tiles) / columns) * height))
        for number, tile in enumerate(self._tiles):
            row, column = divmod(number, columns)
            sheet.paste(tile, (column * width, row * height))
        encoded = encode_jpeg(sheet, MAX_BYTES * len(self._tiles) // max(self.total, 32))
        facts = {
            "columns": columns,
            "count": len(self._tiles),
            "width": width,
            "height": height,
            "indices": self._indices,
            "seconds": [round(seconds, 6) for seconds in self._seconds],
        }
        record = make_record(facts, encoded)
        if self._held is not None:
            self._held.add(len(record))
        self._records.append(record)
        self._tiles, self._indices, self._seconds = [], [], []


def make_record(facts: Value, jpeg: bytes = b"") -> bytes:
    """Two lengths of four bytes each, big-endian, then the facts as JSON, then the JPEG.

    The facts are those of a sheet, or {"count": 0, "done"}: the number of frames that are decoded so far.
    """
    header = json.dumps(facts).encode()
    return struct.pack(">II", len(header), len(jpeg)) + header + jpeg


def frames_route(find: Callable[[str], Sheets | None]) -> Route:
    """The route for the sheets. `find` returns those with a token."""

    async def send(request: Request) -> Response:
        sheets = find(request.path_params["token"])
        if sheets is None:
            return Response(status_code=404)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(sheets.stream(), media_type="application/octet-stream", headers=headers)

    return Route(ROUTE, send)


def encode_jpeg(picture: Image.Image, max_bytes: int) -> bytes:
    """Encode with the best of `QUALITIES` that stays within `max_bytes`, or with the lowest."""
    encoded = b""
    for quality in QUALITIES:
        encoded = jpeg_bytes(picture, quality)
        if len(encoded) <= max_bytes:
            break
    return encoded


def thumbnail_size(width: int, height: int, thumbnail_height: int) -> tuple[int, int]:
    """(width, height) of a thumbnail with this height, at most four times as wide as high or as high as wide."""
    aspect = min(MAX_ASPECT, max(1 / MAX_ASPECT, width / height))
    return max(1, round(thumbnail_height * aspect)), thumbnail_height


def thumbnail(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A thumbnail of a frame, uint8 (height, width, 3)."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5)
