"""The example gallery: cards read from examples/examples.json, each with a thumbnail, a title and its questions."""

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

PACKAGE = Path(__file__).resolve().parents[1]
# Inside the package once it is installed, beside it in the repository.
EXAMPLES_FOLDER = PACKAGE / "examples" if (PACKAGE / "examples").is_dir() else PACKAGE.parent / "examples"


@dataclass(frozen=True)
class Example:
    """One clip or picture, the budget that shows it well, and questions to ask."""

    path: Path
    title: str
    shows: str
    thumbnail: Path
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
            title=entry["title"],
            shows=entry["shows"],
            thumbnail=folder / entry["thumbnail"],
            num_frames=entry["num_frames"],
            questions=tuple(item["question"] for item in entry["questions"]),
            answers=tuple(item["answer"] for item in entry["questions"]),
        )
        for entry in json.loads(listing.read_text("utf-8"))
    ]


SCRIPT = """
element.addEventListener("click", (event) => {
  const card = event.target.closest("button[data-number]");
  if (card) trigger("pick", { number: Number(card.dataset.number) });
});
"""


def make_gallery(examples: list[Example], elem_id: str) -> gr.HTML:
    """A row of cards. Event: `pick` with the `number` of the example."""
    cards = "".join(card(number, example) for number, example in enumerate(examples))
    return gr.HTML(
        value=f'<div class="cards" role="group" aria-label="Examples">{cards}</div>',
        js_on_load=SCRIPT,
        apply_default_css=False,
        visible=bool(examples),
        elem_id=elem_id,
    )


def card(number: int, example: Example) -> str:
    """A button; its picture travels inside the page, so that the gallery costs no request."""
    picture = base64.b64encode(example.thumbnail.read_bytes()).decode("ascii")
    kind = "picture" if example.is_picture else f"{example.num_frames:,} frames"
    return (
        f'<button type="button" class="card" data-number="{number}" title="{html.escape(example.shows)}">'
        f'<img src="data:image/jpeg;base64,{picture}" alt="" width="160" height="90">'
        f"<span><b>{html.escape(example.title)}</b>{html.escape(example.shows)}</span><i>{kind}</i></button>"
    )
