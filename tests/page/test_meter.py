"""The facts from which the page computes the cost of a budget."""

from pathlib import Path

import pytest

from longva_demo.chat import ImageSource, LocalEngine, PrefillTimes, VideoSource
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from longva_demo.page.components.meter import meter_facts
from longva_demo.video import plan_frames, probe


def test_facts_about_a_video_a_picture_and_no_file(engine: LocalEngine, clip: Path) -> None:
    reads, one = PrefillTimes(), engine.meter(1)
    info = probe(clip)
    plan = plan_frames(info, 8, 2.0, 4.5)
    facts = meter_facts(one, VideoSource(info, plan, engine.processor), reads)
    assert facts["source"] == {"frames": 25, "first": 2.0, "last": 4.4, "is_whole": False, "has_numbers": False}
    assert (plan.seconds[0], plan.seconds[-1]) == pytest.approx((2.0, 4.4), abs=0.001)
    whole = meter_facts(one, VideoSource(info, plan_frames(info, 8), engine.processor), reads)
    assert whole["source"] == {"frames": 100, "first": 0.0, "last": 9.9, "is_whole": True, "has_numbers": False}
    picture = ImageSource(EXAMPLES_FOLDER / "picture.png", engine.processor)
    assert meter_facts(one, picture, reads)["source"] == {"pieces": picture.num_frames}
    nothing = meter_facts(one, None, reads)
    assert nothing["source"] is None
    assert nothing["frame_tokens"] == engine.model.tokens_per_frame


def test_the_newest_prefill_time_of_each_size_is_kept() -> None:
    reads = PrefillTimes()
    for num_frames, seconds in ((64, 2.0), (1000, 40.0), (70, 3.0)):
        reads.add(num_frames, seconds)
    assert reads.known == [(70, 3.0), (1000, 40.0)]
