"""`longva-demo niah` and `longva-demo niah compare`."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from longva_demo.cli.commands import make_settings, quick_imports, require_packages
from longva_demo.cli.terminal import print_json, say, say_progress
from longva_demo.errors import DemoError
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits

if TYPE_CHECKING:  # torch is imported late
    from longva_demo.niah import Task
    from longva_demo.niah.command import Request

CELLS_PER_LINE = 10  # progress, if standard error is not a terminal


def niah(options: Namespace) -> None:
    """Run the needle test: one JSON line per cell, a heat map, and the means beside the published ones."""
    if options.plan:
        plan(options)
        return
    require_packages("matplotlib", "pyarrow")
    with quick_imports():
        from longva_demo.chat import Progress, Stage, open_engine
        from longva_demo.chat.open_engine import Capability, in_process
        from longva_demo.niah.command import NeedleTest, open_frames

    settings = make_settings(options)
    request = request_of(options, settings)
    frames = open_frames(request)  # before the model is loaded, so that a bad video fails at once
    engine = in_process(open_engine(settings), Capability.NEEDLE_TEST)
    say(engine.model.reason)
    test = NeedleTest(engine, request)
    if test.file.results:
        say(f"{len(test.done):,} of {len(test.cells):,} cells are already done")
    try:
        for event in test.run(frames):
            if not isinstance(event, Progress):
                say_progress(f"{test.time_left}; cell", len(test.done), len(test.cells), CELLS_PER_LINE)
            elif event.stage == Stage.ENCODING:
                say_progress("encoding frame", event.done, event.total)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            say(f"stopped after {len(test.done):,} of {len(test.cells):,} cells; run the same command to resume")
        with suppress(DemoError):  # report the first error
            test.draw()
        raise
    test.draw()
    if options.json:
        print_json(**test.facts())
    else:
        print(test.report())


def task_of(options: Namespace) -> "Task":
    """The test that the flags name; at most one of them is given."""
    from longva_demo.niah import Kind, Task

    if options.distractors is not None:
        return Task(Kind.DISTRACTORS, options.distractors)
    if options.several is not None:
        return Task(Kind.SEVERAL, options.several)
    kinds = {"count": Kind.COUNT, "order": Kind.ORDER, "clips": Kind.CLIPS, "lines": Kind.LINES}
    return Task(next((kind for flag, kind in kinds.items() if getattr(options, flag)), Kind.NEEDLE))


def plan(options: Namespace) -> None:
    """Print memory and time of the grid for LongVA-7B."""
    with quick_imports():
        from longva_demo.niah import Grid
        from longva_demo.niah.plan import Plan

    grid = task_of(options).grid(Grid.parse(options.sizes, options.depths))
    costs = Plan(grid, options.num_needles)
    if options.json:
        print_json(**costs.facts())
    else:
        print(costs.report())


def compare(options: Namespace) -> None:
    """Print the scores of two runs and their difference, and draw them side by side."""
    require_packages("matplotlib")
    with quick_imports():
        from longva_demo.niah.compare import Comparison, Run

    comparison = Comparison(Run.read(Path(options.first)), Run.read(Path(options.second)))
    comparison.draw([Path(options.out) / name for name in ("compare.png", "compare.svg")])
    if options.json:
        print_json(**comparison.facts(), out=options.out)
    else:
        print(comparison.report())
        print(f"heat maps: {options.out}")


def request_of(options: Namespace, settings: Settings) -> "Request":
    from longva_demo.niah import Grid
    from longva_demo.niah.command import Request

    return Request(
        video=Path(options.video) if options.video else None,
        needles=options.needles,
        num_needles=options.num_needles,
        grid=Grid.parse(options.sizes, options.depths),
        spacing=options.spacing,
        seed=options.seed,
        out=Path(options.out),
        with_attribution=not options.no_attribution,
        limits=DecodeLimits.from_settings(settings),
        task=task_of(options),
    )
