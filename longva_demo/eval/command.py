"""Own questions as the command line runs them: the run can be stopped and resumed, and ends with a table and a page."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import longva_demo
from longva_demo.chat import Engine, Progress
from longva_demo.errors import DemoError
from longva_demo.eval.questions import INSTRUCTION, Question
from longva_demo.eval.report import write_page
from longva_demo.eval.results import Result, from_row, to_row
from longva_demo.eval.run import Pace, Setup, run
from longva_demo.eval.scoring import EXTRACTOR
from longva_demo.eval.summary import Summary
from longva_demo.result_file import ResultFile

RESULTS, PAGE = "results.jsonl", "index.html"


def model_facts(engine: Engine) -> dict[str, Any]:
    """Which model answers, for result files."""
    model = engine.model
    return {
        "model": model.id,
        "revision": model.revision,
        "quant": model.quant,
        "dtype": model.dtype,
        "attention": model.attention,
        "longva_demo": longva_demo.__version__,
    }


class OwnQuestions:
    """One run on one engine.

    Raises:
        DemoError: the folder has results of a different run, or is not writable.
    """

    def __init__(self, engine: Engine, questions: Sequence[Question], setup: Setup) -> None:
        self.questions = list(questions)
        self._engine = engine
        self._setup = setup
        self._pace = Pace()
        sampling = setup.sampling
        self.head = {
            "test": "own questions",
            **model_facts(engine),
            **setup.frames.facts(),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_new_tokens": sampling.max_new_tokens,
            "options_prompt": INSTRUCTION,
            "extractor": EXTRACTOR,
            "attribution": setup.with_attribution,
        }
        self.file = ResultFile(setup.out / RESULTS, self.head)
        self._results = {result.question: result for result in map(from_row, self.file.rows)}

    @property
    def results(self) -> list[Result]:
        """The newest result of each question that was asked, in the order of the questions."""
        return [self._results[question] for question in self.questions if question in self._results]

    @property
    def left(self) -> list[Question]:
        """What is not answered: an earlier run may have stopped, or may not have been able to read a video."""
        return [one for one in self.questions if one not in self._results or self._results[one].error]

    @property
    def summary(self) -> Summary:
        return Summary.of(self.results, len(self.questions))

    def run(self) -> Iterator[Progress | Result]:
        """Ask what is left, and save each result at once.

        Raises:
            DemoError: the results cannot be written, or the model cannot be used any more.
        """
        questions = self.left
        try:
            with closing(run(self._engine, questions, self._setup)) as events:  # type: ignore[type-var]
                for event in events:
                    if isinstance(event, Result):
                        self.file.add(to_row(event))
                        self._results[event.question] = event
                        self._pace.add(event)
                    yield event
        except OSError as error:
            what = f"cannot write to {self._setup.out} ({error.strerror or error})"
            raise DemoError(what, "free some space, then run the same command again to resume") from error

    @property
    def time_left(self) -> str:
        """An estimate for what is left, from the answers of this run."""
        return format_time_left(self._pace.seconds(self.left))

    def write_page(self) -> None:
        """Write the page with the results so far."""
        write_page(self._setup.out / PAGE, self.head, self.results, self.summary)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.head, **self.summary.facts(), "out": str(self._setup.out)}

    def report(self) -> str:
        """The table at the end."""
        return "\n".join([*self.summary.lines(), f"results and page: {self._setup.out / PAGE}"])


def format_time_left(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
