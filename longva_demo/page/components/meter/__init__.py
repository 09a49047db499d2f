"""The cost of a frame budget. The page gets a few facts, and computes the cost while the slider moves."""

from dataclasses import asdict

import gradio as gr

from longva_demo.chat import BudgetMeter, ImageSource, PrefillTimes, Source, VideoSource
from longva_demo.chat.lines import LinesCost
from longva_demo.chat.zero_gpu import Quota
from longva_demo.page.components.component import make_component
from longva_demo.page.transcript import Value
from longva_demo.video import frames_in_range


def make_meter(facts: Value, elem_id: str) -> gr.HTML:
    """The cost of the slider's budget, and what is wrong with the range. Value: `meter_facts`."""
    return make_component("meter", facts, elem_id, helpers=("range.js",))


def meter_facts(
    one: BudgetMeter,
    source: Source | None,
    prefill_times: PrefillTimes,
    quota: Quota | None = None,
    lines: LinesCost | None = None,
) -> Value:
    """What the page needs to compute the cost of a budget. `one` is the cost of a single frame.

    "reads" holds [frames, seconds to the first word] of earlier prefills on this machine. "source" is None, {"pieces"}
    of a picture, or the frames in the selected range of a video: their number, the seconds of the first and the last
    one, whether they are the whole video, and whether numbers are drawn on them. "quota" is None outside ZeroGPU.
    "lines" is what lines of what is said and written add to the next question, None for nothing.
    """
    facts: Value = {
        "frame_tokens": one.num_tokens,
        "frame_bytes": one.kv_bytes,
        "context_length": one.context_length,
        "largest": one.largest_budget,
        "knows_memory": one.free_bytes is not None,
        "reads": prefill_times.known,
        "quota": None if quota is None else asdict(quota),
        "lines": None if lines is None else asdict(lines),
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
            "has_numbers": source.has_numbers,
        }
    return facts
