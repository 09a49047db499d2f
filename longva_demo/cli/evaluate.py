"""The command `eval`: a person's own questions, or a published benchmark through lmms-eval."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from longva_demo.cli.commands import STAGES, make_settings, quick_imports, require_packages
from longva_demo.cli.terminal import print_json, say, say_progress
from longva_demo.errors import DemoError
from longva_demo.eval.published import FRAMES, TASKS
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits

if TYPE_CHECKING:  # torch is imported late
    from longva_demo.eval.command import OwnQuestions
    from longva_demo.eval.questions import Question

QUESTIONS_PER_LINE = 10  # progress, if standard error is not a terminal


def evaluate(options: Namespace) -> None:
    """Run it, print the table, and write the page."""
    settings = make_settings(options)
    if options.limit is not None and options.limit < 1:
        raise DemoError(f"--limit is {options.limit}", "use 1 or more")
    path = Path(options.target)
    if path.suffix == ".jsonl" or path.exists():
        evaluate_questions(options, settings, path)
    else:
        evaluate_task(options, settings)


def evaluate_questions(options: Namespace, settings: Settings, path: Path) -> None:
    questions = read(path)[: options.limit]
    budget = options.num_frames or FRAMES
    if options.plan:
        with quick_imports():
            from longva_demo.eval.plan import plan_questions

        print("\n".join(plan_questions(questions, budget)))
        return
    for video in sorted({one.video for one in questions if not (path.parent / one.video).exists()}):
        say(f"note: {video} does not exist; questions about it will be errors")
    evaluation = open_evaluation(options, settings, path, questions, budget)
    run_questions(evaluation)
    if options.json:
        print_json(**evaluation.facts())
    else:
        print(evaluation.report())
    if not evaluation.summary.num_answered:
        raise DemoError("no question could be answered", "see the errors in the results")


def read(path: Path) -> list["Question"]:
    """The questions of a file; every bad row is a line on standard error."""
    from longva_demo.eval.questions import QuestionError, read_questions

    try:
        return read_questions(path)
    except QuestionError as error:
        for problem in error.problems:
            say(problem)
        raise


def open_evaluation(
    options: Namespace, settings: Settings, path: Path, questions: list["Question"], budget: int
) -> "OwnQuestions":
    """Load the model, and open the folder of results."""
    with quick_imports():
        from longva_demo.chat import Sampling, open_engine
        from longva_demo.eval.asking import FrameSampling
        from longva_demo.eval.command import OwnQuestions
        from longva_demo.eval.run import Setup

    engine = open_engine(settings)
    say(engine.model.reason)
    setup = Setup(
        root=path.parent,
        out=Path(options.out or f"eval-{path.stem}"),
        frames=FrameSampling(budget, settings.decoder, DecodeLimits.from_settings(settings)),
        sampling=Sampling(max_new_tokens=settings.max_new_tokens),
        with_attribution=not options.no_attribution,
    )
    return OwnQuestions(engine, questions, setup)


def run_questions(evaluation: "OwnQuestions") -> None:
    """Ask what is left, with progress. The page is written after a stop or an error, too."""
    from longva_demo.chat import Progress

    if evaluation.file.rows:
        answered = len(evaluation.questions) - len(evaluation.left)
        say(f"{answered:,} of {len(evaluation.questions):,} questions are already answered")
    total, done = len(evaluation.left), 0
    try:
        for event in evaluation.run():
            if isinstance(event, Progress):
                if event.done < event.total:  # on a terminal only
                    say_progress(STAGES[event.stage], event.done, event.total)
                continue
            done += 1
            if event.error:
                say(f"error: {event.error}")
            say_progress(f"{evaluation.time_left}; question", done, total, QUESTIONS_PER_LINE)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            say(f"stopped after {done:,} of {total:,} questions; run the same command to resume")
        with suppress(DemoError):  # report the first error
            evaluation.write_page()
        raise
    evaluation.write_page()


def evaluate_task(options: Namespace, settings: Settings) -> None:
    task = TASKS.get(options.target)
    if task is None:
        raise DemoError(
            f"{options.target!r} is not a known benchmark", f"use a .jsonl file, or one of {', '.join(TASKS)}"
        )
    frames = None if task.frames is None else options.num_frames or task.frames
    if options.plan:
        with quick_imports():
            from longva_demo.eval.plan import plan_task

        print("\n".join(plan_task(task, frames, options.limit)))
        return
    require_packages("lmms_eval")
    with quick_imports():
        from longva_demo.eval.benchmark import run_benchmark
        from longva_demo.eval.lmms_model import DEFAULT_MODEL, LongVADemo

    model = LongVADemo(
        model=options.model or DEFAULT_MODEL,
        frames=frames or FRAMES,
        out=options.out or f"eval-{task.name}",
        quant=settings.quant,
        device=settings.device,
        dtype=settings.dtype,
        attention=settings.attention,
        decoder=settings.decoder,
    )
    outcome = run_benchmark(model, task, options.limit)
    if outcome is not None and options.json:
        print_json(**outcome.facts())
    elif outcome is not None:
        print(outcome.report())
