"""The published figures as data, and the plans of the benchmarks."""

from itertools import groupby

import pytest

from longva_demo.cli.main import main
from longva_demo.eval.plan import Cost, plan_task
from longva_demo.eval.published import FIGURES, TASKS, figures_of


def test_every_figure_is_checked_by_a_known_task_or_by_none() -> None:
    assert {figure.task for figure in FIGURES} <= {*TASKS, ""}
    keys = sorted((figure.title, figure.part, figure.model, str(figure.frames), figure.source) for figure in FIGURES)
    assert all(len(list(group)) == 1 for _, group in groupby(keys))
    assert all(figure.source for figure in FIGURES)
    assert all(bool(figure.task) != bool(figure.check) for figure in FIGURES)
    assert [figure.value for figure in figures_of("videomme") if figure.source == "arXiv 2406.16852"] == [
        *(47.9, 49.7, 51.8, 52.4, 52.6, 51.8),
        *(61.1, 50.4, 46.2),
    ]


def test_the_cost_formula() -> None:
    """T = 144 N + 14 tokens: 13.05e9 T + 200,704 T² FLOP, and 0.385e12 FLOP per frame for the vision tower."""
    tokens = 144 * 128 + 14
    flop = 13.05e9 * tokens + 200_704 * tokens**2 + 0.385e12 * 128
    one = Cost(num_questions=0, num_prefills=1, frames=128)
    assert one.seconds == pytest.approx(flop / (0.4 * 312e12), rel=0.01)
    video_mme = Cost(num_questions=2700, num_prefills=900, frames=128)
    assert 2.5 < video_mme.seconds_without_sharing / video_mme.seconds < 3


def test_the_plan_of_a_benchmark_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "videomme", "--plan", "--limit", "300", "--frames", "64"]) == 0
    text = capsys.readouterr().out
    assert "Video-MME: 2,700 questions about 900 videos (arXiv 2405.21075), of which the first 300" in text
    assert "64 frames per video" in text
    assert "the Hub cannot be asked for the size of huggingface.co/datasets/lmms-eval/Video-MME" in text
    assert "command: longva-demo eval videomme --model lmms-lab/LongVA-7B" in text


@pytest.mark.parametrize("name", TASKS)
def test_every_benchmark_has_a_plan(name: str) -> None:
    lines = plan_task(TASKS[name], TASKS[name].frames, None)
    assert len(lines) >= 4
    assert all(lines)
