"""The example gallery: four groups of cards, read from examples/examples.json.

A card shows a thumbnail, a title and a description; its tooltip has the questions. On hover it plays a preview.
"""

import json
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from longva_demo.page.components.component import make_component
from longva_demo.page.i18n import message
from longva_demo.page.jpeg import data_url
from longva_demo.page.transcript import Value
from longva_demo.video import file_sha256

PACKAGE = Path(__file__).resolve().parents[3]
# Inside the installed package, and next to it in the repository.
EXAMPLES_FOLDER = PACKAGE / "examples" if (PACKAGE / "examples").is_dir() else PACKAGE.parent / "examples"
PREVIEWS = "/longva/previews"

# In this order. Their texts and those of the examples are in the catalogues ("gallery.…").
GROUPS = ("first", "long", "images", "limits")


@dataclass(frozen=True)
class Example:
    """A clip or picture, a suitable frame budget, and questions to ask."""

    path: Path
    group: str
    title: str
    shows: str
    thumbnail: Path
    preview: Path | None
    num_frames: int
    questions: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def is_picture(self) -> bool:
        return self.path.suffix.lower() == ".png"


def read_examples(folder: Path = EXAMPLES_FOLDER) -> list[Example]:
    """The examples in the order of examples.json; none if the folder is not installed."""
    listing = folder / "examples.json"
    if not listing.is_file():
        return []
    return [
        Example(
            path=folder / entry["file"],
            group=entry["group"],
            title=entry["title"],
            shows=entry["shows"],
            thumbnail=folder / entry["thumbnail"],
            preview=folder / entry["preview"] if entry["preview"] else None,
            num_frames=entry["num_frames"],
            questions=tuple(item["question"] for item in entry["questions"]),
            answers=tuple(item["answer"] for item in entry["questions"]),
        )
        for entry in json.loads(listing.read_text("utf-8"))
    ]


def previews_route(examples: list[Example]) -> Route:
    """The route for the previews that play on hover. (StaticFiles does not find them below a root path.)"""
    files = {example.preview.name: example.preview for example in examples if example.preview}

    async def send(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        return FileResponse(file) if file else Response(status_code=404)

    return Route(f"{PREVIEWS}/{{name}}", send)


def make_gallery(examples: list[Example], elem_id: str) -> gr.HTML:
    """The groups with their cards, side by side. Event: `pick`, after selection.js has been given the card.

    The document's event `longva:open-example` picks one by its `id` or `sha256`, with `budget`, `start` and `end`.
    """
    assert all(example.group in GROUPS for example in examples)
    groups: list[Value] = [
        {
            "title": message(f"gallery.group_{name}"),
            "line": message(f"gallery.group_{name}_line"),
            "cards": [card(example) for example in examples if example.group == name],
        }
        for name in GROUPS
    ]
    return make_component("gallery", groups if examples else [], elem_id)


def card(example: Example) -> Value:
    """A card with its selection and its thumbnail, so that a click needs no request to the server."""
    name = example.path.stem
    file = {
        "path": str(example.path),
        "url": f"/gradio_api/file={quote(str(example.path))}",
        "orig_name": example.path.name,
        "size": example.path.stat().st_size,
        "mime_type": mimetypes.guess_type(example.path.name)[0],
    }
    return {
        "title": message(f"gallery.{name}"),
        "shows": message(f"gallery.{name}_shows"),
        "thumbnail": data_url(example.thumbnail.read_bytes()),
        "preview": f"{PREVIEWS}/{example.preview.name}" if example.preview else None,
        "choice": {
            "id": name,
            "sha256": file_sha256(example.path),
            "file": file,
            "kind": "picture" if example.is_picture else "video",
            "budget": example.num_frames,
            "questions": example.questions,
        },
    }
