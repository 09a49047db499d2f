"""Scripts for the page's head, which run before Gradio draws anything."""

from pathlib import Path

FOLDER = Path(__file__).parent
# They give `say`, `selection` and the rest to all components, and use each other.
SHARED = ("times.js", "words.js", "dom.js", "draft.js", "selection.js")
# Each mends something that Gradio lacks, and uses no other.
SEPARATE = ("event_stream.js", "fields.js", "focus.js", "toasts.js")


def head(constants: str) -> str:
    """The page's head. `constants` are JavaScript declarations that stale_tab.js uses."""
    first = constants + "".join(map(read, (*SHARED, "stale_tab.js")))
    return "<script>" + "".join(f"{{{text}}}\n" for text in (first, *map(read, SEPARATE))) + "</script>"


def read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")
