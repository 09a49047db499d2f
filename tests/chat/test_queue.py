"""The admission queue: order of arrival, a few at a time, an estimated wait, a limit."""

from contextlib import ExitStack

import pytest

from longva_demo.chat import AdmissionQueue, PrefillTimes, Progress, Stage
from longva_demo.errors import DemoError
from longva_demo.quotas import CLIENT


def test_tickets_are_admitted_in_order_of_arrival() -> None:
    queue = AdmissionQueue(PrefillTimes(), max_admitted=lambda: 2)
    with ExitStack() as first, ExitStack() as second:
        one, two = first.enter_context(queue.enqueue(8)), second.enter_context(queue.enqueue(8))
        with queue.enqueue(8) as three, ExitStack() as last:
            four = last.enter_context(queue.enqueue(8))
            assert [ticket.admitted.is_set() for ticket in (one, two, three, four)] == [True, True, False, False]
            assert queue.position(three) == Progress(Stage.QUEUED, 1, 2)
            assert queue.position(four) == Progress(Stage.QUEUED, 2, 2)
            second.close()
            assert three.admitted.is_set()
            assert queue.position(four) == Progress(Stage.QUEUED, 1, 1)
            last.close()  # leaves before it is admitted
            assert len(queue) == 0
            first.close()
            with queue.enqueue(8) as five:
                assert five.admitted.is_set()
        assert not four.admitted.is_set()


def test_clients_take_turns() -> None:
    queue, client_of = AdmissionQueue(PrefillTimes(), max_admitted=lambda: 3), {}
    with ExitStack() as opened:
        leaving = opened.enter_context(ExitStack())
        for stack, client in (
            (leaving, "a"),
            (opened, "a"),
            (opened, "a"),
            (opened, "a"),
            (opened, "b"),
            (opened, "c"),
        ):
            token = CLIENT.set(client)
            ticket = stack.enter_context(queue.enqueue(8))
            CLIENT.reset(token)
            client_of[ticket] = client
        admitted = [client for ticket, client in client_of.items() if ticket.admitted.is_set()]
        assert admitted == ["a", "a", "b"]  # the last place is not for a third one of the same client
        leaving.close()
        newest = list(client_of)[-1]
        assert newest.admitted.is_set()
        assert len(queue) == 2


def test_the_wait_is_estimated_from_earlier_prefills() -> None:
    times = PrefillTimes()
    queue = AdmissionQueue(times, max_admitted=lambda: 2)
    with queue.enqueue(100), queue.enqueue(300), queue.enqueue(40) as waiting:
        assert queue.position(waiting).seconds is None
        times.add(100, 2.0)
        assert queue.position(waiting).seconds == pytest.approx((2.0 + 6.0) / 2)
        with queue.enqueue(8) as last:
            assert queue.position(last).seconds == pytest.approx((2.0 + 6.0 + 0.8) / 2)


def test_a_full_queue_refuses_in_one_line() -> None:
    queue = AdmissionQueue(PrefillTimes(), max_admitted=lambda: 1, max_waiting=1)
    with queue.enqueue(8), queue.enqueue(8) as waiting:
        with (
            pytest.raises(DemoError, match=r"the queue is full: 1 .*; try again in a few"),
            queue.enqueue(8),
        ):
            pass
        assert len(queue) == 1
    assert waiting.admitted.is_set() is False
    with queue.enqueue(8) as ticket:
        assert ticket.admitted.is_set()


def test_requeueing_moves_to_the_end_even_if_the_queue_is_full() -> None:
    queue = AdmissionQueue(PrefillTimes(), max_admitted=lambda: 1, max_waiting=1)
    with queue.enqueue(8) as long:
        queue.requeue(long)
        assert long.admitted.is_set()  # nobody waits
        with queue.enqueue(8) as short:
            queue.requeue(long)
            assert short.admitted.is_set()
            assert list(queue.wait(short, lambda: False)) == []
            assert queue.position(long) == Progress(Stage.QUEUED, 1, 1)
            assert list(queue.wait(long, lambda: True)) == []
        assert long.admitted.is_set()
    assert len(queue) == 0
