"""The waiting line: order of arrival, a few at a time, an estimate, and a bound."""

from contextlib import ExitStack

import pytest

from longva_demo.chat import AdmissionQueue, PrefillTimes, Progress, Stage
from longva_demo.errors import DemoError


def test_places_are_called_in_the_order_of_arrival() -> None:
    line = AdmissionQueue(PrefillTimes(), at_once=2)
    with ExitStack() as first, ExitStack() as second:
        one, two = first.enter_context(line.join(8)), second.enter_context(line.join(8))
        with line.join(8) as three, ExitStack() as last:
            four = last.enter_context(line.join(8))
            assert [place.called.is_set() for place in (one, two, three, four)] == [True, True, False, False]
            assert line.progress(three) == Progress(Stage.QUEUED, 1, 2)
            assert line.progress(four) == Progress(Stage.QUEUED, 2, 2)
            second.close()
            assert three.called.is_set()
            assert line.progress(four) == Progress(Stage.QUEUED, 1, 1)
            last.close()  # gives up before it was called
            assert len(line) == 0
            first.close()
            with line.join(8) as five:
                assert five.called.is_set()
        assert not four.called.is_set()


def test_the_wait_is_estimated_from_what_was_read_before() -> None:
    reads = PrefillTimes()
    line = AdmissionQueue(reads, at_once=2)
    with line.join(100), line.join(300), line.join(40) as waiting:
        assert line.progress(waiting).seconds is None
        reads.add(100, 2.0)
        assert line.progress(waiting).seconds == pytest.approx((2.0 + 6.0) / 2)
        with line.join(8) as last:
            assert line.progress(last).seconds == pytest.approx((2.0 + 6.0 + 0.8) / 2)


def test_a_full_line_is_one_clear_line_and_takes_nobody() -> None:
    line = AdmissionQueue(PrefillTimes(), at_once=1, max_waiting=1)
    with line.join(8), line.join(8) as waiting:
        with pytest.raises(DemoError, match="the line is full; try again in a few minutes"), line.join(8):
            pass
        assert len(line) == 1
    assert waiting.called.is_set() is False
    with line.join(8) as place:
        assert place.called.is_set()


def test_who_lets_others_goes_to_the_end_and_keeps_a_place_in_a_full_line() -> None:
    line = AdmissionQueue(PrefillTimes(), at_once=1, max_waiting=1)
    with line.join(8) as long:
        line.requeue(long)
        assert long.called.is_set()  # nobody waits
        with line.join(8) as short:
            line.requeue(long)
            assert short.called.is_set()
            assert list(line.wait(short, lambda: False)) == []
            assert line.progress(long) == Progress(Stage.QUEUED, 1, 1)
            assert list(line.wait(long, lambda: True)) == []
        assert long.called.is_set()
    assert len(line) == 0
