"""The video's whole length as a strip: where the samples lie, the range, the player's position, and the way back."""

import gradio as gr

from longva_demo.ui.widgets import widget

SHELL = """
<section class="timeline" aria-label="Timeline" data-state="empty">
  <header class="timeline-head">
    <nav class="trail" aria-label="Range that is sampled"></nav>
    <span class="timeline-hint">drag to look closer at a stretch</span>
  </header>
  <div class="track" role="slider" tabindex="0" aria-label="Position in the video" aria-valuemin="0"
       title="Click to go there; drag to spend the whole budget on a stretch. With the keyboard: arrows move,
 Shift and arrows select, Enter takes the selection">
    <canvas></canvas><i class="track-range"></i><i class="track-head"></i><i class="track-hover"><span></span></i>
  </div>
</section>
"""


def make_timeline(elem_id: str) -> gr.HTML:
    """Event: `range` with `start` and `end` in seconds; None is the beginning or the end of the video.

    It hears from the frame browser what is looked at. To show how much each sample weighs (0 to 1, in their order), a
    script dispatches `new CustomEvent("longva:weights", {detail: [...]})` on the document; null ends it.
    """
    return widget(SHELL, ("times.js", "timeline.js"), None, elem_id)
