"""Scripts for the page's head. They run before Gradio draws anything.

Each runs in a function of its own and shares only the names that it assigns to `window`, at its end.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
# In the order in which they run. The first eight export what the components use. event_stream.js wraps the `fetch` of
# stale_tab.js; the last seven stand alone.
SCRIPTS = (
    "times.js",
    "preferences.js",
    "i18n.js",
    "dom.js",
    "draft.js",
    "selection.js",
    "upload.js",
    "stale_tab.js",
    "event_stream.js",
    "fields.js",
    "focus.js",
    "keys.js",
    "link.js",
    "reload.js",
    "toasts.js",
    "appear.js",
)


# Rules that style.css cannot hold: Gradio adds it after it has drawn components, which appear.js shows at once, and
# rewrites its media queries so that they miss the footer.
STYLE = """<style>
:root:not(.drawn) :is(.gradio-container .column, footer) { visibility: hidden; }
@media (pointer: coarse) { footer :is(a, button) { padding-block: 10px !important; } }
</style>"""


def head(constants: str) -> str:
    """The page's head. `constants` are JavaScript declarations that stale_tab.js uses."""
    scripts = (wrap(name, constants if name == "stale_tab.js" else "") for name in SCRIPTS)
    return f"{STYLE}<script>{''.join(scripts)}</script>"


def wrap(name: str, constants: str) -> str:
    """A script as a function that is called at once."""
    return f'(() => {{\n"use strict";\n{constants}{(FOLDER / name).read_text("utf-8")}}})();\n'
