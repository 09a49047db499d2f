"""A preview, where the browser cannot play the video or show the picture: asked for by the page, made while it waits.

The file itself stays what the model is asked about; only the player's address changes (player.js).
"""

import secrets
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from longva_demo.errors import DemoError
from longva_demo.folders import temporary_folder
from longva_demo.page.components.component import make_component
from longva_demo.page.i18n import Message, message
from longva_demo.video import DecodeLimits, PreviewProgress, VideoInfo, is_playable, make_preview
from longva_demo.video.still import is_picture, open_image

ROUTE = "/longva/preview/{token}"
MAX_PICTURE_SIZE = 2048  # pixels


class Preview:
    """The preview of one file, for one visitor. Whoever knows the random token can fetch it, while it is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = secrets.token_hex(16)
        self.is_ready = False
        self.line: Message | None = None  # what the page says about it, once it is ready
        folder = temporary_folder("preview")
        self.file = (folder / "preview").with_suffix(".png" if is_picture(path) else ".mp4")
        self.close: Callable[[], object] = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def make(self, info: VideoInfo, limits: DecodeLimits) -> Iterator[PreviewProgress]:
        """Make it; without another file in its place, the page may show it after the last item."""
        with closing(make_preview(self.path, self.file, info, limits)) as steps:  # type: ignore[type-var]
            for step in steps:
                if step.is_ready:
                    between = info.duration_seconds / step.num_frames
                    slow = between > 0.25
                    self.line = message("preview.ready_slow", interval=between) if slow else message("preview.ready")
                    self.is_ready = True
                yield step

    def make_picture(self) -> None:
        """Make it of a picture, as the model gets it: upright, on white."""
        picture = open_image(self.path)
        picture.thumbnail((MAX_PICTURE_SIZE, MAX_PICTURE_SIZE))
        picture.save(self.file)
        self.is_ready = True


class Owner(Protocol):
    """A page, as seen from here: it has one preview at most, and may turn to something else at any time."""

    preview: Preview | None

    def start_preview(self, path: Path) -> Preview: ...

    def start_video_preview(self, path: Path, limits: DecodeLimits) -> tuple[Preview, VideoInfo]: ...


def preview_steps(page: Owner, path: Path, limits: DecodeLimits) -> Iterator[dict[str, Any]]:
    """Yield what is to be shown: {"line"}, and in the end {"line", "token"}; ends early when the page turns away."""
    try:
        if is_picture(path):
            preview = page.start_preview(path)
            if not preview.is_ready:
                try:
                    preview.make_picture()
                except OSError:
                    if page.preview is preview:
                        raise
            if page.preview is preview:
                yield {"line": None, "token": preview.token}
            return
        preview, info = page.start_video_preview(path, limits)
    except DemoError:
        yield {"line": None}  # sampling the frames, which begins with the same steps, says what is wrong
        return
    if is_playable(info):
        # An ordinary file: the connection failed, or the browser lacks what the preview would need too.
        yield {"line": message("preview.helpless")}
        return
    try:
        if not preview.is_ready:
            for step in preview.make(info, limits):
                if page.preview is not preview:
                    return
                yield {"line": message("preview.progress", share=round(step.share, 2))}
        yield {"line": preview.line, "token": preview.token}
    except DemoError as error:
        yield {"line": message("preview.failed", reason=error.message)}


def make_preview_line(elem_id: str) -> gr.HTML:
    """The line below the player. Event: `need` with a number, `ask`, where the browser cannot play the file.

    Value: an item of `preview_steps` with that `ask`, or None.
    """
    return make_component("preview", None, elem_id)


def preview_route(find: Callable[[str], Preview | None]) -> Route:
    """The address that the player fetches previews from, whole or in parts; `find` knows whose they are."""

    async def send(request: Request) -> Response:
        preview = find(request.path_params["token"])
        if preview is None or not preview.is_ready:
            return Response(status_code=404)
        return FileResponse(preview.file, headers={"Cache-Control": "no-store"})

    return Route(ROUTE, send, methods=["GET"])
