"""Times on this processor: the formula, and the probe."""

import pytest

from longva_demo.model import LongVAConfig
from longva_demo.model.estimate import Estimate, ModelSize, ProcessorSpeed, probe_speed

# Speeds of an assumed 8-core desktop, and its times for LongVA-7B.
DESKTOP = Estimate(ProcessorSpeed(500e9, 500e9, 33e9, 80e9), ModelSize.of(LongVAConfig()))


def test_what_longva_7b_costs() -> None:
    """DESIGN's numbers: 0.385 TFLOP and 144 tokens per frame, 13.05e9 FLOP per token, 200,704 per token squared."""
    size = ModelSize.of(LongVAConfig())
    assert size.frame_flop == pytest.approx(0.385e12, rel=0.01)
    assert (size.frame_tokens, size.kv_bytes) == (144, 114_688)
    assert 2 * size.layer_weights == pytest.approx(13.05e9, rel=0.001)
    assert size.head_weights == pytest.approx(0.545e9, rel=0.001)
    assert size.attention_flop == 200_704


def test_times_grow_with_the_frames() -> None:
    assert [round(DESKTOP.first_word(frames)) for frames in (8, 16, 32)] == [43, 85, 173]
    assert DESKTOP.token(8) == pytest.approx(0.227, abs=0.001)
    assert DESKTOP.token(32) > DESKTOP.token(8)
    assert DESKTOP.next_first_word(8) < 3


def test_the_largest_budget_within_a_time() -> None:
    frames = DESKTOP.frames_within(60)
    assert DESKTOP.first_word(frames) <= 60 < DESKTOP.first_word(frames + 1)
    assert DESKTOP.frames_within(0.0) == 1


def test_the_estimate_in_words() -> None:
    assert DESKTOP.sentence(8) == "about 43 s to the first word about 8 frames, then 4.4 tokens per second"


def test_the_probe_measures_once() -> None:
    speed = probe_speed()
    assert probe_speed() is speed
    assert min(speed.flop, speed.layer_flop, speed.weights, speed.question_weights) > 1e7
