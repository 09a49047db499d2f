"""The video's whole length as a strip: where the samples lie, the range, the player's position, and the way back."""

import gradio as gr

from longva_demo.ui.widgets import widget

SHELL = """
<section class="timeline" aria-label="${say("timeline.label")}" data-state="empty">
  <header class="timeline-head">
    <nav class="trail" aria-label="${say("timeline.trail")}"></nav>
    <span class="timeline-hint">${say("timeline.hint")}</span>
  </header>
  <div class="track" role="slider" tabindex="0" aria-label="${say("timeline.position")}" aria-valuemin="0"
       title="${say("timeline.title")}">
    <canvas></canvas><i class="track-range"></i><i class="track-head"></i><i class="track-hover"><span></span></i>
  </div>
</section>
"""


def make_timeline(elem_id: str) -> gr.HTML:
    """Event: `range` with `start` and `end` in seconds; None is the beginning or the end of the video.

    It hears from the frame browser what is looked at. To show how much each sample weighs (0 to 1, in their order), a
    script dispatches `new CustomEvent("longva:weights", {detail: [...]})` on the document; null ends it.
    """
    return widget(SHELL, "timeline.js", None, elem_id)
