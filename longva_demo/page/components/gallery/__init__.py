"""The example gallery: four groups of cards, read from examples/examples.json.

A card shows a thumbnail, a title, a description and its questions. On hover it plays a preview.
"""

import base64
import html
import json
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from longva_demo.page.components.component import read_script
from longva_demo.page.i18n import message

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


def previews_route() -> Mount:
    """The route for the previews that play on hover."""
    return Mount(PREVIEWS, StaticFiles(directory=EXAMPLES_FOLDER / "thumbs", check_dir=False))


def make_gallery(examples: list[Example], elem_id: str) -> gr.HTML:
    """The groups with their cards, side by side. Event: `pick`, after selection.js has been given the card."""
    assert all(example.group in GROUPS for example in examples)
    groups = "".join(group(name, examples) for name in GROUPS)
    return gr.HTML(
        html_template=f'<div class="groups" role="group" aria-label="{said("label")}">{groups}</div>',
        js_on_load=read_script("gallery"),
        apply_default_css=False,
        visible=bool(examples),
        elem_id=elem_id,
    )


def said(name: str) -> str:
    """A placeholder that the browser replaces by the message."""
    return f'${{say("{message(f"gallery.{name}")["key"]}")}}'


def group(name: str, examples: list[Example]) -> str:
    """A heading, its description, and the cards. In the first group, newcomers see a hint instead of it."""
    cards = "".join(card(example) for example in examples if example.group == name)
    hint = f'<span class="hint" hidden>{said("hint")}</span>' if name == GROUPS[0] else ""
    return (
        f'<section class="group" aria-labelledby="group-{name}">'
        f'<h2 id="group-{name}" title="{said(f"group_{name}")}">{said(f"group_{name}")}</h2>'
        f'<p class="group-line"><span>{said(f"group_{name}_line")}</span>{hint}</p>{cards}</section>'
    )


def card(example: Example) -> str:
    """A button that holds its selection and its thumbnail, so that a click needs no request to the server."""
    picture = base64.b64encode(example.thumbnail.read_bytes()).decode("ascii")
    name, questions = example.path.stem, [html.escape(question) for question in example.questions]
    frames = "" if example.is_picture else f'<i>${{say("count.frames", {{ count: {example.num_frames} }})}}</i>'
    file = {
        "path": str(example.path),
        "url": f"/gradio_api/file={quote(str(example.path))}",
        "orig_name": example.path.name,
        "size": example.path.stat().st_size,
        "mime_type": mimetypes.guess_type(example.path.name)[0],
    }
    kind = "picture" if example.is_picture else "video"
    choice = {"file": file, "kind": kind, "budget": example.num_frames, "questions": example.questions}
    preview = f' data-preview="{PREVIEWS}/{example.preview.name}"' if example.preview else ""
    return (
        f'<button type="button" class="card" data-choice="{html.escape(json.dumps(choice))}"{preview} '
        f'title="{chr(10).join((said(f"{name}_shows"), *questions))}">'
        f'<span class="card-picture"><img src="data:image/jpeg;base64,{picture}" alt="">{frames}</span>'
        f'<span class="card-text"><b>{said(name)}</b><span class="card-shows">{said(f"{name}_shows")}</span>'
        f'<span class="card-questions"><q lang="en">{questions[0]}</q> +{len(questions) - 1}</span></span></button>'
    )
