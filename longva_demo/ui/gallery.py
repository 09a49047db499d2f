"""The example gallery: cards read from examples/examples.json in four groups, each with a thumbnail, a title, what it
shows and its questions, and a preview that moves while it is pointed at."""

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

PACKAGE = Path(__file__).resolve().parents[1]
# Inside the package once it is installed, beside it in the repository.
EXAMPLES_FOLDER = PACKAGE / "examples" if (PACKAGE / "examples").is_dir() else PACKAGE.parent / "examples"
PREVIEWS = "/longva/previews"

# Title and line of each group, in their order.
GROUPS = {
    "first": ("First steps", "Short clips: pick one, then a question."),
    "long": ("Long video", "One moment among hundreds of frames."),
    "images": ("Images", "Large ones are read in pieces (UniRes)."),
    "limits": ("What the built-in model cannot do", "It says so instead of guessing."),
}
LABEL = "Examples"
HINT = "New here? Pick a clip, then a question."
FRAMES = "{count:,} frames"
MORE = "+{count}"


@dataclass(frozen=True)
class Example:
    """One clip or picture, the budget that shows it well, and questions to ask."""

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
    """The examples in the order of examples.json; none where the folder was not installed."""
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
    """The address that moving previews are fetched from."""
    return Mount(PREVIEWS, StaticFiles(directory=EXAMPLES_FOLDER / "thumbs", check_dir=False))


def make_gallery(examples: list[Example], elem_id: str) -> gr.HTML:
    """The groups with their cards, side by side. Event: `pick` with the `number` of the example."""
    assert all(example.group in GROUPS for example in examples)
    groups = "".join(group(name, examples) for name in GROUPS)
    return gr.HTML(
        value=f'<div class="groups" role="group" aria-label="{LABEL}">{groups}</div>',
        js_on_load=(Path(__file__).parent / "gallery.js").read_text("utf-8"),
        apply_default_css=False,
        visible=bool(examples),
        elem_id=elem_id,
    )


def group(name: str, examples: list[Example]) -> str:
    """A heading, its line, and the cards below. In the first group a newcomer reads the hint in the line's place."""
    title, line = GROUPS[name]
    cards = "".join(card(number, example) for number, example in enumerate(examples) if example.group == name)
    hint = f'<span class="hint" hidden>{html.escape(HINT)}</span>' if name == next(iter(GROUPS)) else ""
    return (
        f'<section class="group" aria-labelledby="group-{name}"><h2 id="group-{name}">{html.escape(title)}</h2>'
        f'<p class="group-line"><span>{html.escape(line)}</span>{hint}</p>{cards}</section>'
    )


def card(number: int, example: Example) -> str:
    """A button. Its still picture travels inside the page, so that the gallery costs no request."""
    picture = base64.b64encode(example.thumbnail.read_bytes()).decode("ascii")
    frames = "" if example.is_picture else f"<i>{FRAMES.format(count=example.num_frames)}</i>"
    preview = f' data-preview="{PREVIEWS}/{example.preview.name}"' if example.preview else ""
    more = MORE.format(count=len(example.questions) - 1)
    return (
        f'<button type="button" class="card" data-number="{number}"{preview} '
        f'title="{html.escape(chr(10).join((example.shows, *example.questions)))}">'
        f'<span class="card-picture"><img src="data:image/jpeg;base64,{picture}" alt="">{frames}</span>'
        f'<span class="card-text"><b>{html.escape(example.title)}</b>'
        f'<span class="card-shows">{html.escape(example.shows)}</span>'
        f'<span class="card-questions"><q>{html.escape(example.questions[0])}</q> {more}</span></span></button>'
    )
