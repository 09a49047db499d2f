"""The page's own small components: transcript, frame budget, suggested questions. Each is a shell and a script.

They are functions around `gr.HTML`, not subclasses: for each subclass Gradio writes a .pyi file beside the source.
"""

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
# For an event whose last input is to be the time on the page's own clock, by which a late act is told from a new one.
NOW = "(...inputs) => [...inputs.slice(0, -1), performance.now()]"

TRANSCRIPT_SHELL = """
<section class="chat">
  <header class="chat-head"><h2>${say("chat.title")}</h2>
    <div class="chat-keep" hidden>
      <button type="button" class="tool" data-format="html" aria-label="${say("chat.save_html")}"
              title="${say("chat.save_html_title")}"><span>${say("chat.save_html")}</span><i>HTML</i></button>
      <button type="button" class="tool" data-format="json" aria-label="${say("chat.save_json")}"
              title="${say("chat.save_json_title")}"><span>${say("chat.save_json")}</span><i>JSON</i></button>
      <button type="button" class="tool chat-clear" title="${say("chat.clear_title")}">${say("chat.clear")}</button>
    </div>
  </header>
  <div class="chat-log" role="log" aria-label="${say("chat.title")}" tabindex="0">
    <div class="chat-empty">
      <b>${say("chat.invitation")}</b>
      <p class="chat-restarted" role="status" hidden>${say("chat.restarted")}</p>
      <p class="chat-closed" role="status" hidden>${say("chat.closed")}</p>
      <p>${say("HINT")}</p>
    </div>
    <div class="chat-turns"></div>
  </div>
</section>
"""

HISTORY_SHELL = """
<details class="history" hidden>
  <summary title="${say("history.title_title")}">${say("history.title")}</summary>
  <div class="history-chats"></div>
  <button type="button" class="tool history-forget"
          title="${say("history.forget_title")}">${say("history.forget")}</button>
</details>
"""

ABOUT_SHELL = """
<p class="about" hidden></p>
<ul class="notes" lang="en" hidden></ul>
"""

BUDGET_SHELL = """
<div class="budget">
  <label for="budget-slider">${say("budget.label")}</label>
  <div class="budget-way">
    <input id="budget-slider" type="range" min="0" max="1000" step="1"
           title="${say("budget.title")}">
    <i class="budget-most" data-label="${say("budget.fits")}"></i>
  </div>
  <input class="budget-number" type="number" min="1" max="MAXIMUM" step="1"
         aria-label="${say("budget.number")}" title="${say("budget.title")}">
</div>
"""


def widget(shell: str, script: str | tuple[str, ...], value: Any, elem_id: str) -> gr.HTML:
    """HTML whose script draws `props.value` with `textContent`: what people or the model write is never markup.

    The browser fills in the shell's `${say("a.key")}`. Several scripts run as one, in their order.
    """
    scripts = (script,) if isinstance(script, str) else script
    return gr.HTML(
        value=value,
        html_template=shell,
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in scripts),
        apply_default_css=False,
        elem_id=elem_id,
    )


def make_transcript(hint: str, elem_id: str) -> gr.HTML:
    """The chat. Events: `retry`, `undo`, `clear`, `edit` with the new `question`, `blind` and `compare` with the
    `number` of the entry, `save` with the `format`.

    Value: when it was made, `at`, a question that goes back to its field, `returned`, and `entries`: a list of
    {"kind": "note", "text"} and {"kind": "turn", "question", "answer", "stats"}; the unfinished
    turn has "status" and "progress" (0 to 1); "tools" shows retry, edit and undo; "checks" names the checks that are
    offered, and "blind" ("answer", "verdict") and "compare" ("rows") are what they found, with a "status" until then;
    "sure", "heat", "drawn" and "unweighed" come from `evidence_entry`. "text", "status", "unweighed" and "verdict" are
    lines (words.py), and "stats" is a list of them. `hint` is the key of what an empty chat says.
    """
    return widget(
        TRANSCRIPT_SHELL.replace("HINT", hint), ("dom.js", "checks.js", "evidence.js", "transcript.js"), None, elem_id
    )


def make_history(elem_id: str) -> gr.HTML:
    """The last chats of this browser, to read.

    Value: the present one to remember, {"at", "page", "number", "record"}, or None.
    """
    return widget(HISTORY_SHELL, ("dom.js", "history.js"), None, elem_id)


def make_about(elem_id: str) -> gr.HTML:
    """What was loaded, below the player. Value: `source_facts`."""
    return widget(ABOUT_SHELL, ("dom.js", "about.js"), None, elem_id)


def make_waiting(elem_id: str) -> gr.HTML:
    """The questions that wait for the end of an upload."""
    shell = (
        '<p class="waiting" role="status" hidden><span></span>'
        '<button type="button" class="tool" title="${say("waiting.back_title")}">${say("waiting.back")}</button></p>'
    )
    return widget(shell, "waiting.js", None, elem_id)


def make_suggestions(elem_id: str) -> gr.HTML:
    """Questions to click. Event: `choose` with the `question`."""
    shell = '<div class="chips" role="group" aria-label="${say("suggestions.label")}"></div>'
    return widget(shell, "suggestions.js", [], elem_id)


def make_budget(value: int, maximum: int, elem_id: str) -> gr.HTML:
    """How many frames: a logarithmic slider with a number field. Event: `settle` when it was moved."""
    return widget(BUDGET_SHELL.replace("MAXIMUM", str(maximum)), "budget.js", value, elem_id)


def make_picture(elem_id: str) -> gr.Image:
    """An image input that hands over the uploaded file as it is; `ImageSource` says what is wrong with it."""
    picture = gr.Image(sources=["upload", "clipboard"], show_label=False, elem_id=elem_id, buttons=[])
    picture.preprocess = lambda payload: payload.path if payload is not None else None  # type: ignore[method-assign]
    return picture
