"""The sampled frames as files: a contact sheet, the frames in full size, the plan, and one frame for the loupe."""

import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from PIL import Image
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from longva_demo.chat import VideoSource
from longva_demo.errors import DemoError
from longva_demo.page.components.frame_browser import ROUTE, Sheets
from longva_demo.page.jpeg import jpeg_bytes
from longva_demo.quotas import CLIENT, Holding, Quotas
from longva_demo.times import format_time
from longva_demo.video.sheet import cell, join_cells

QUALITY = 90
MAX_FRAME_SIDE = 960
Found = tuple[Sheets, VideoSource]


def download_routes(find: Callable[[str], Found | None], quotas: Quotas) -> list[Route]:
    """Routes below that of the frames. `find` returns the sheets with a token and their video."""

    def route(name: str, respond: Callable[[Sheets, VideoSource], Response]) -> Route:
        async def send(request: Request) -> Response:
            found = find(request.path_params["token"])
            if found is None:
                return PlainTextResponse("these frames are no longer available; choose the video again", 404)
            request.state.held = Holding(quotas.downloads, CLIENT.get(), 1)  # until the end of the request
            response = await run_in_threadpool(respond, *found)
            stem = re.sub(r'[^ -~]|["\\\\<>:/|?*]', "_", found[1].info.path.stem)
            response.headers["Content-Disposition"] = f'attachment; filename="{stem}-{name}"'
            response.headers["Cache-Control"] = "no-store"
            return response

        return Route(f"{ROUTE}/{name}", send)

    async def send_frame(request: Request) -> Response:
        found, index = find(request.path_params["token"]), request.path_params["index"]
        if found is None or index not in found[1].plan.indices:
            return Response(status_code=404)
        try:
            with quotas.frames.hold(CLIENT.get()):
                jpeg = await run_in_threadpool(frame_jpeg, found[1], index)
        except DemoError:  # it cannot be decoded, or too many are being decoded
            return Response(status_code=204)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    return [
        Route(f"{ROUTE}/frame/{{index:int}}.jpg", send_frame),
        route("contact-sheet.jpg", lambda sheets, _: Response(contact_sheet_jpeg(sheets), media_type="image/jpeg")),
        route("frames.zip", lambda _, source: StreamingResponse(closing(zipped(source)), media_type="application/zip")),
        route("plan.json", lambda _, source: Response(plan_json(source), media_type="application/json")),
    ]


def contact_sheet_jpeg(sheets: Sheets) -> bytes:
    """The page's thumbnails and their times as one JPEG, without decoding again."""
    cells = [cell(image, time, image.width + 4, image.height + 4) for image, time in sheets.thumbnails()]
    return jpeg_bytes(join_cells(cells), QUALITY)


def frame_jpeg(source: VideoSource, index: int) -> bytes:
    """One frame at the player's size.

    Raises:
        VideoError: it cannot be decoded.
    """
    width, height = source.size
    scale = min(1.0, MAX_FRAME_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return jpeg_bytes(Image.fromarray(source.decode_frame(index, size)), QUALITY)


def plan_json(source: VideoSource) -> str:
    """The output of `longva-demo frames --json`, without the server's path of the file."""
    planned = zip(source.plan.indices, source.plan.seconds, strict=True)
    facts: dict[str, object] = {
        "video": {**source.info.to_dict(), "path": source.info.path.name},
        "frames": [{"index": index, "seconds": seconds} for index, seconds in planned],
        "notes": list(source.notes),
    }
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=1)


class Pipe(io.RawIOBase):
    """A file that cannot seek, from which the written bytes are drained."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def drain(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def zipped(source: VideoSource) -> Generator[bytes]:
    """A ZIP of the frames in full size, created while it is sent: only one batch of frames is in memory."""
    pipe = Pipe()
    batches = source.decode()
    try:
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # JPEGs do not compress
            number = 0
            for batch in batches:
                for pixels, index, seconds in zip(batch.pixels, batch.indices, batch.seconds, strict=True):
                    number += 1
                    picture = jpeg_bytes(Image.fromarray(pixels), QUALITY)
                    archive.writestr(file_name(number, index, seconds), picture)
                    yield pipe.drain()
        yield pipe.drain()
    finally:
        batches.close()


def file_name(number: int, index: int, seconds: float) -> str:
    """Starts with the sample's number, for sorting; then the frame's index in the video and its time.

    >>> file_name(7, 1234, 3723.46)
    '0007-frame-001234-at-1.02.03.46.jpg'
    """
    return f"{number:04}-frame-{index:06}-at-{format_time(seconds, 2).replace(':', '.')}.jpg"


async def closing(pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    """Run a generator in a thread, and close it, which ends its decoder, when the client disconnects."""
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    finally:
        pieces.close()
