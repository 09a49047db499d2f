"""A benchmark of lmms-eval with the published settings; at the end, published and measured figures side by side.

Needs the extra [eval]. Under `accelerate launch`, each process answers a part, and the first one has the results.
"""

import inspect
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager, get_task_dict
from loguru import logger

from longva_demo.eval.answers import Answer
from longva_demo.eval.lmms_model import LongVADemo
from longva_demo.eval.measured import Measured, Sample, measure, table
from longva_demo.eval.published import Figure, Task, figures_of


@dataclass(frozen=True)
class Outcome:
    """What a run measured. `measured` is about all questions, `parts` by name about some."""

    task: Task
    model: str
    frames: int | None  # None for pictures
    measured: Measured | None
    parts: dict[str, Measured | None]
    num_errors: int
    frames_prefilled: int
    frames_alone: int
    head: dict[str, Any]
    out: Path

    @property
    def figures(self) -> list[tuple[Figure, Measured | None]]:
        """Published figures, each with what was measured in the same way, if it was."""
        found = []
        for figure in figures_of(self.task.name):
            is_same = figure.model == self.model and figure.frames in (None, self.frames)
            measured = self.parts.get(figure.part) if figure.part else self.measured
            found.append((figure, measured if is_same else None))
        return found

    def report(self) -> str:
        measured = self.measured
        sampling = "pictures" if self.frames is None else f"{self.frames} frames"
        lines = [f"{self.task.title}, {self.model}, {sampling}"]
        if measured is not None:
            interval = f"{measured.low:.1f} to {measured.high:.1f}" if measured.low is not None else "none"
            lines.append(
                f"measured: {measured.value:.1f} (95 % interval {interval}; {measured.num_samples:,} questions)"
            )
        saving = self.frames_alone / max(1, self.frames_prefilled)
        lines += table(self.figures, self.num_errors)
        lines.append(
            f"frames prefilled: {self.frames_prefilled:,} instead of {self.frames_alone:,} ({saving:.1f} × fewer)"
        )
        return "\n".join([*lines, f"answers: {self.out}"])

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.head,
            "task": self.task.name,
            "measured": asdict(self.measured) if self.measured else None,
            "parts": {name: asdict(part) if part else None for name, part in self.parts.items()},
            "published": [asdict(figure) for figure in figures_of(self.task.name)],
            "num_errors": self.num_errors,
            "frames_prefilled": self.frames_prefilled,
            "frames_alone": self.frames_alone,
            "out": str(self.out),
        }


def run_benchmark(model: LongVADemo, task: Task, limit: int | None, include: Path | None = None) -> Outcome | None:
    """Run `task`. Only the first of several processes gets the outcome.

    include: a folder with tasks that lmms-eval does not have.
    """
    manager = TaskManager("WARNING", include_path=str(include) if include else None, model_name="longva_demo")
    results = simple_evaluate(
        model=model,
        model_args="",
        tasks=[task.name],
        limit=limit,
        task_manager=manager,
        batch_size=1,
        bootstrap_iters=0,
        verbosity="WARNING",
    )
    if results is None:
        return None
    return collect(model, task, results["samples"][task.name], get_task_dict([task.name], manager)[task.name])


def collect(model: LongVADemo, task: Task, samples: list[dict[str, Any]], definition: Any) -> Outcome:
    """What the samples of lmms-eval add up to, without those that were not asked."""
    answers = {answer.key[2]: answer for answer in model.all_answers() if answer.key[0] == task.name}
    asked = {str(sample["doc_id"]) for sample in samples}
    answers = {number: answer for number, answer in answers.items() if number in asked}
    metric = task.metric or next(iter(definition.aggregation()))
    aggregate = definition.aggregation()[metric]
    if "args" in inspect.signature(aggregate).parameters:
        aggregate = partial(aggregate, args=None)
    kept = [sample for sample in samples if not answers[str(sample["doc_id"])].error]

    logger.disable("lmms_eval")  # aggregations log every category, each time

    def of(chosen: list[dict[str, Any]]) -> Measured | None:
        found = [Sample(sample[metric], group_of(answers[str(sample["doc_id"])])) for sample in chosen]
        return measure(found, aggregate, task.scale)

    names = sorted({str(sample["doc"][task.part_field]) for sample in kept}) if task.part_field else []
    done = [answer for answer in answers.values() if not answer.error]
    return Outcome(
        task=task,
        model=str(model.head["model"]).rsplit("/")[-1],
        frames=None if task.frames is None else model.frames.budget,
        measured=of(kept),
        parts={name: of([one for one in kept if str(one["doc"][task.part_field]) == name]) for name in names},
        num_errors=len(answers) - len(done),
        frames_prefilled=sum(answer.num_frames for answer in done if answer.prefilled),
        frames_alone=sum(answer.num_frames for answer in done),
        head=model.head,
        out=model.out,
    )


def group_of(answer: Answer) -> str:
    """Questions about one video, or one question."""
    return answer.media or "/".join(answer.key)
