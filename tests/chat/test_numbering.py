"""Numbered frames: the pixels, the plumbing from the source to the record, and that nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from longva_demo.chat import ChatSession, LocalEngine, VideoSource
from longva_demo.chat.numbering import number_frames, number_mask
from longva_demo.chat.record import parse_record, record_chat
from longva_demo.chat.replay import open_recorded
from longva_demo.video import DecodeLimits, plan_frames, probe
from tests.chat.conftest import answer, make_source

RED = (255, 0, 0)


def pixels_of(source: VideoSource) -> np.ndarray:
    return np.concatenate([pixels for pixels in source.pixels(16, lambda: False) if pixels is not None])


def numbered_source(engine: LocalEngine, path: Path, budget: int = 12) -> VideoSource:
    info = probe(path)
    return VideoSource(info, plan_frames(info, budget), engine.processor, has_numbers=True)


@pytest.mark.parametrize("side", [84, 336])
def test_the_number_is_red_in_the_bottom_right_corner(side: int) -> None:
    plain = np.random.default_rng(0).integers(0, 200, (3, side, side, 3), dtype=np.uint8)
    before = plain.copy()
    numbered = number_frames(plain, 9)
    assert np.array_equal(plain, before), "the frames themselves stay as they are"
    changed = (numbered != plain).any(-1)  # (frames, S, S)
    assert (numbered[changed] == RED).all()
    for frame, number in zip(changed, (9, 10, 11), strict=True):
        mask = number_mask(number, side)
        height, width = mask.shape
        assert np.array_equal(frame[side - height :, side - width :], mask)
        assert frame.sum() == mask.sum() > 0
        assert width < 0.25 * side
        assert 0.06 * side < mask.any(1).sum() < 40 / 336 * side + 1, "digits of a font of 40 pixels at 336"
    assert not np.array_equal(changed[1], changed[2])


def test_a_source_numbers_its_samples_from_one(engine: LocalEngine, clip: Path) -> None:
    """Through decoding in batches, the store on disk, and its repair."""
    plain, numbered = make_source(engine, clip, 12), numbered_source(engine, clip)
    expected = number_frames(pixels_of(plain), 1)
    assert np.array_equal(pixels_of(numbered), expected)
    numbered.frame_store.file.unlink()
    assert np.array_equal(numbered.stored_frame(4), expected[4])
    assert np.array_equal(pixels_of(numbered), expected)
    assert plain.key != numbered.key
    for source in (plain, numbered):
        source.close()


def test_the_record_says_that_pixels_were_changed(engine: LocalEngine, clip: Path) -> None:
    for source, has_numbers in ((make_source(engine, clip, 12), False), (numbered_source(engine, clip), True)):
        session = ChatSession(engine, is_shared=False)
        session.set_source(source)
        answer(session, "What is first?")
        record = parse_record(record_chat(session, 12).to_json())
        assert record.media is not None
        assert record.media.frames is not None
        assert record.media.frames.has_numbers is has_numbers
        again = open_recorded(record, clip, engine.processor, DecodeLimits())
        assert isinstance(again, VideoSource)
        assert again.has_numbers is has_numbers
        assert again.key == source.key
        again.close()
        session.close()
