"""A preview of a video or picture that the browser cannot show. The page requests it, and waits while it is encoded.

Questions are still about the file itself; only the player's URL changes.
"""

import secrets
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import gradio as gr
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from longva_demo.errors import DemoError
from longva_demo.folders import temporary_folder
from longva_demo.page.components.component import make_component
from longva_demo.page.i18n import Message, message
from longva_demo.page.transcript import Value
from longva_demo.video import DecodeLimits, PreviewProgress, VideoInfo, is_playable, make_preview
from longva_demo.video.picture import read_picture
from longva_demo.video.still import is_picture

ROUTE = "/longva/preview/{token}"
MAX_PICTURE_SIZE = 2048  # pixels


class Preview:
    """The preview of one file, for one visitor. Anyone with the random token can fetch it while this object exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = secrets.token_hex(16)
        self.is_ready = False
        self.ready_message: Message | None = None  # below the player, once the preview is ready
        folder = temporary_folder("preview")
        self.file = (folder / "preview").with_suffix(".png" if is_picture(path) else ".mp4")
        self.close: Callable[[], object] = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def make(self, info: VideoInfo, limits: DecodeLimits) -> Iterator[PreviewProgress]:
        """Encode the video. After the last item the page can show the preview."""
        with closing(make_preview(self.path, self.file, info, limits)) as steps:  # type: ignore[type-var]
            for step in steps:
                if step.is_ready:
                    interval = info.duration_seconds / step.num_frames
                    self.ready_message = (
                        message("preview.ready_slow", interval=interval)
                        if interval > 0.25
                        else message("preview.ready")
                    )
                    self.is_ready = True
                yield step

    def make_picture(self, limits: DecodeLimits) -> None:
        """Convert the picture as the model gets it: upright, on white."""
        picture = read_picture(self.path, MAX_PICTURE_SIZE, limits=limits)
        Image.fromarray(picture.small).save(self.file)
        self.is_ready = True


class Owner(Protocol):
    """The page, as this module sees it. It has at most one preview, and its selection may change at any time."""

    preview: Preview | None

    def start_preview(self, path: Path) -> Preview: ...

    def start_video_preview(self, path: Path, limits: DecodeLimits) -> tuple[Preview, VideoInfo]: ...


def preview_steps(page: Owner, path: Path, limits: DecodeLimits) -> Iterator[Value]:
    """Yield {"line"} as values to show, and in the end {"line", "token"}. Ends early when the selection changes."""
    try:
        if is_picture(path):
            preview = page.start_preview(path)
            if not preview.is_ready:
                try:
                    preview.make_picture(limits)
                except OSError:
                    if page.preview is preview:
                        raise
            if page.preview is preview:
                yield {"line": None, "token": preview.token}
            return
        preview, info = page.start_video_preview(path, limits)
    except DemoError:
        yield {"line": None}  # selecting the file, which begins with the same steps, reports the error
        return
    if is_playable(info):
        # An ordinary file: the connection failed, or the browser lacks a codec that the preview needs too.
        yield {"line": message("preview.helpless")}
        return
    try:
        if not preview.is_ready:
            for step in preview.make(info, limits):
                if page.preview is not preview:
                    return
                yield {"line": message("preview.progress", share=round(step.share, 2))}
        yield {"line": preview.ready_message, "token": preview.token}
    except DemoError as error:
        if page.preview is preview:  # its folder is deleted when the selection changes
            yield {"line": message("preview.failed", reason=error.message)}


def make_preview_line(elem_id: str) -> gr.HTML:
    """The line below the player. Event: `need`, with a number `ask`, if the browser cannot play the file.

    Value: an item of `preview_steps` with that `ask`, or None.
    """
    return make_component("preview", None, elem_id)


def preview_route(find: Callable[[str], Preview | None]) -> Route:
    """The route for previews, in whole or in parts. `find` returns the preview with a token."""

    async def send(request: Request) -> Response:
        preview = find(request.path_params["token"])
        if preview is None or not preview.is_ready:
            return Response(status_code=404)
        return FileResponse(preview.file, headers={"Cache-Control": "no-store"})

    return Route(ROUTE, send, methods=["GET"])
