"""What a budget costs, before the fact: a few facts go to the page, which does the sums while the slider moves."""

from typing import Any

import gradio as gr

from longva_demo.chat import BudgetMeter, ImageSource, PrefillTimes, Source, VideoSource
from longva_demo.page.components.component import make_component
from longva_demo.video import frames_in_range


def make_meter(facts: dict[str, Any], elem_id: str) -> gr.HTML:
    """The cost of the budget that the slider shows. Its value: `meter_facts`."""
    return make_component("meter", facts, elem_id)


def meter_facts(one: BudgetMeter, source: Source | None, prefill_times: PrefillTimes) -> dict[str, Any]:
    """What the page needs for its sums. `one` is the cost of a single frame.

    prefill_times: [frames, seconds to the first word] of what was read on this machine before.
    source: None, {"pieces"} of a picture, or the frames that the range of a video holds: their number, the seconds
        of the first and the last one, and whether they are the whole video.
    """
    facts: dict[str, Any] = {
        "frame_tokens": one.num_tokens,
        "frame_bytes": one.kv_bytes,
        "context_length": one.context_length,
        "largest": one.largest_budget,
        "knows_memory": one.free_bytes is not None,
        "reads": prefill_times.known,
        "source": None,
    }
    if isinstance(source, ImageSource):
        facts["source"] = {"pieces": source.num_frames}
    elif isinstance(source, VideoSource):
        info, plan = source.info, source.plan
        first, last = frames_in_range(info, plan.start_seconds, plan.end_seconds)
        facts["source"] = {
            "frames": last - first,
            "first": round(float(info.frame_seconds[first]), 3),
            "last": round(float(info.frame_seconds[last - 1]), 3),
            "is_whole": last - first == info.num_frames,
        }
    return facts
