"""The chat: its turns, what is offered under each answer, and what a chat can be saved as."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_transcript(hint: str, elem_id: str) -> gr.HTML:
    """The chat. Events: `retry`, `undo`, `clear`, `edit` with the new `question`, `blind` and `compare` with the
    `number` of the entry, `save` with the `format`.

    Value: when it was made, `at`, a question that goes back to its field, `returned`, and `entries`: a list of
    {"kind": "note", "text"} and {"kind": "turn", "question", "answer", "stats"}; the unfinished
    turn has "status" and "progress" (0 to 1); "tools" shows retry, edit and undo; "checks" names the checks that are
    offered, and "blind" ("answer", "verdict") and "compare" ("rows") are what they found, with a "status" until then;
    "sure", "heat", "drawn" and "unweighed" come from `attribution_entry`. "text", "status", "unweighed" and "verdict"
    are messages (i18n), and "stats" is a list of them. `hint` is the key of what an empty chat says.
    """
    return make_component("transcript", None, elem_id, scripts=("checks.js", "attribution.js", "script.js"), hint=hint)
