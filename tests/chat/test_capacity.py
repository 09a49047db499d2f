"""The calculator against the table of docs/scale.md."""

import pytest

from longva_demo.chat.capacity import Capacity, VideoCost
from longva_demo.errors import BudgetError

# Frames; seconds of prefill; GB of KV cache; seconds of a follow-up; questions per second; cached; people; seconds of a
# chunk of 2,304 and of 8,192 tokens.
TABLE = [
    (128, 0.6, 1.06, 0.06, 4.7, 101, 280, 0.08, 0.28),
    (384, 2.5, 3.17, 0.11, 1.4, 34, 82, 0.14, 0.49),
    (1000, 10.8, 8.26, 0.22, 0.34, 13, 21, 0.28, 0.98),
    (1551, 22.8, 12.8, 0.31, 0.17, 8, 10, 0.40, 1.42),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} frames")
def test_the_table(row: tuple[float, ...]) -> None:
    frames, prefill, kv, follow_up, rate, cached, users, small, large = row
    cost, one = VideoCost(int(frames)), Capacity(int(frames), num_gpus=1, num_users=1)
    assert cost.prefill_seconds == pytest.approx(prefill, rel=0.02)
    assert cost.kv_bytes / 1e9 == pytest.approx(kv, rel=0.01)
    assert cost.follow_up_seconds == pytest.approx(follow_up, abs=0.006)
    assert one.questions_per_second == pytest.approx(rate, rel=0.03)
    assert cost.num_cached == cached
    assert one.max_users == pytest.approx(users, abs=max(1, 0.02 * users))
    assert cost.chunk_seconds(2304) == pytest.approx(small, abs=0.006)
    assert cost.chunk_seconds(8192) == pytest.approx(large, abs=0.006)


def test_more_people_need_more_gpus() -> None:
    four = Capacity(1000, num_gpus=4, num_users=50)
    assert four.facts()["is_enough"]
    crowd = Capacity(1000, num_gpus=4, num_users=500)
    assert not crowd.facts()["is_enough"]
    assert Capacity(1000, crowd.needed_gpus, 500).facts()["is_enough"]
    assert not Capacity(1000, crowd.needed_gpus - 1, 500).facts()["is_enough"]
    assert f"{crowd.needed_gpus} GPUs are needed" in crowd.report()
    assert crowd.facts()["kv_offloading_gb"] == pytest.approx(500 / 4 * 8.26 - 108, abs=1)


def test_the_context_limits_the_frames() -> None:
    with pytest.raises(BudgetError, match="use 1,555 frames or fewer"):
        VideoCost(1600).check()
