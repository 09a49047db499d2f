"""The chat: its turns, the tools below each answer, and the save buttons."""

import gradio as gr

from longva_demo.page.components.component import make_component


def make_transcript(hint: str, scope: str, elem_id: str) -> gr.HTML:
    """The chat. Events: `retry`, `undo`, `clear`, `edit` with the new `question`, `blind` and `compare` with the
    `number` of the entry, `save` with the `format`.

    Value: {"at", "entries", "returned"}; see `Page.transcript_value`, and page/transcript.py for the entries. "tools"
    in the last entry offers retry, edit and undo, and "checks" in an entry names the checks on offer. `hint` and
    `scope` are the keys of the messages in an empty chat: what to do, and what the model can do.
    """
    helpers = ("attribution.js", "lines.js", "checks.js", "waiting.js")
    return make_component("transcript", None, elem_id, helpers, hint=hint, scope=scope)
