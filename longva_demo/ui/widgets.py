"""The page's own small components: transcript, frame budget, suggested questions. Each is a shell and a script.

They are functions around `gr.HTML`, not subclasses: for each subclass Gradio writes a .pyi file beside the source.
"""

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent

TRANSCRIPT_SHELL = """
<section class="chat">
  <header class="chat-head"><h2>Conversation</h2>
    <div class="chat-keep" hidden>
      <button type="button" class="tool" data-format="html"
              title="Questions, answers and frames as one page to read or send">Save <span>as </span>HTML</button>
      <button type="button" class="tool" data-format="json"
              title="These questions, to ask again: longva-demo replay">Save <span>as </span>JSON</button>
      <button type="button" class="tool chat-clear" title="Forget the conversation; the video stays read">Clear</button>
    </div>
  </header>
  <div class="chat-log" role="log" aria-label="Conversation" tabindex="0">
    <div class="chat-empty">
      <b>Ask about what you see.</b>
      <p>Pick an example or drop in a video, look at the frames, then ask. The video is read once; every further
      question is answered at once. Without a video, you can ask too.</p>
    </div>
    <div class="chat-turns"></div>
  </div>
</section>
"""

HISTORY_SHELL = """
<details class="history" hidden>
  <summary title="Kept in this browser alone, without the videos">Earlier chats in this browser</summary>
  <div class="history-chats"></div>
  <button type="button" class="tool history-forget" title="Delete these chats from this browser">Forget all</button>
</details>
"""

BUDGET_SHELL = """
<div class="budget">
  <label for="budget-slider">Frame budget</label>
  <div class="budget-way">
    <input id="budget-slider" type="range" min="0" max="1000" step="1"
           title="How many frames the model may look at, spread evenly over the video or the range">
    <i class="budget-most"></i>
  </div>
  <input class="budget-number" type="number" min="1" max="MAXIMUM" step="1" aria-label="Number of frames">
</div>
"""


def widget(shell: str, script: str | tuple[str, ...], value: Any, elem_id: str) -> gr.HTML:
    """HTML whose script draws `props.value` with `textContent`: what people or the model write is never markup.

    Several scripts run as one, in their order.
    """
    scripts = (script,) if isinstance(script, str) else script
    return gr.HTML(
        value=value,
        html_template=shell,
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in scripts),
        apply_default_css=False,
        elem_id=elem_id,
    )


def make_transcript(elem_id: str) -> gr.HTML:
    """The chat. Events: `retry`, `undo`, `clear`, `edit` with the new `question`, `blind` and `compare` with the
    `number` of the entry, `save` with the `format`.

    Value: a list of {"kind": "note", "text"} and {"kind": "turn", "question", "answer", "stats"}; the unfinished
    turn has "status" and "progress" (0 to 1); "tools" shows retry, edit and undo; "checks" names the checks that are
    offered, and "blind" ("answer", "verdict") and "compare" ("rows") are what they found, with a "status" until then;
    "sure", "heat" and "drawn" come from `evidence_entry`.
    """
    return widget(TRANSCRIPT_SHELL, ("dom.js", "checks.js", "evidence.js", "transcript.js"), [], elem_id)


def make_history(elem_id: str) -> gr.HTML:
    """The last chats of this browser, to read. Value: the present one to remember, {"number", "record"}, or None."""
    return widget(HISTORY_SHELL, ("dom.js", "history.js"), None, elem_id)


def make_suggestions(elem_id: str) -> gr.HTML:
    """Questions to click. Event: `choose` with the `question`."""
    shell = '<div class="chips" role="group" aria-label="Suggested questions"></div>'
    return widget(shell, "suggestions.js", [], elem_id)


def make_budget(value: int, maximum: int, elem_id: str) -> gr.HTML:
    """How many frames: a logarithmic slider with a number field. Event: `settle` when it was moved."""
    return widget(BUDGET_SHELL.replace("MAXIMUM", str(maximum)), "budget.js", value, elem_id)


def make_picture(elem_id: str) -> gr.Image:
    """An image input that hands over the uploaded file as it is; `ImageSource` says what is wrong with it."""
    picture = gr.Image(sources=["upload", "clipboard"], show_label=False, elem_id=elem_id, buttons=[])
    picture.preprocess = lambda payload: payload.path if payload is not None else None  # type: ignore[method-assign]
    return picture
