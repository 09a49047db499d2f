"""The test as the command line runs it: it can be stopped and resumed, and ends with a heat map."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longva_demo.chat import LocalEngine, Progress
from longva_demo.chat.lines import BUILTIN_MODEL
from longva_demo.errors import DemoError, one_line
from longva_demo.folders import own_folder
from longva_demo.niah.grid import Cell, Grid
from longva_demo.niah.haystack import Haystack, drawn_frames, drawn_name, video_frames
from longva_demo.niah.hiding import distractor_positions
from longva_demo.niah.needles import PUBLISHED_NEEDLES
from longva_demo.niah.plot import draw_heat_map
from longva_demo.niah.results import ResultFile, Summary, score_table, table_lines
from longva_demo.niah.run import Pace, Result, run
from longva_demo.niah.tasks import PUBLISHED, PUBLISHED_NAMES, Kind, Task
from longva_demo.video import DecodeLimits, file_sha256


@dataclass(frozen=True)
class Request:
    """What to test. Without a video the haystack is drawn; without needles, those that suit the model are used."""

    video: Path | None
    needles: str | None
    num_needles: int
    grid: Grid
    spacing: str
    seed: int
    out: Path
    with_attribution: bool
    limits: DecodeLimits
    task: Task = field(default_factory=Task)

    def __post_init__(self) -> None:
        if self.num_needles < 1:
            raise DemoError(f"the number of needles is {self.num_needles}", "use 1 or more")


def open_frames(request: Request) -> Iterator[np.ndarray]:
    """The frames of the haystack, batch by batch. The video is probed immediately.

    Raises:
        DemoError: the video is unusable or too short.
    """
    num_frames = max(request.grid.frames)
    if request.video is None:
        return drawn_frames(num_frames, request.seed, request.task.reserved)
    return video_frames(request.video, num_frames, request.spacing, request.limits)


def default_needles(engine: LocalEngine) -> str:
    """The needles that suit the model, as an argument of `load_needles`."""
    return "drawn" if engine.model.id == "tiny" else PUBLISHED_NEEDLES


def sampling_name(request: Request) -> str:
    """How the frames of the haystack are chosen. Names the grid's size only if the chosen frames depend on it."""
    if request.video is None:
        return "drawn"
    return "one a second" if request.spacing == "second" else f"{max(request.grid.frames)} over all"


class NeedleTest:
    """One run on one engine.

    Raises:
        DemoError: the needles are unavailable, the folder contains a different test, or there is no video and the
            model is not the built-in one.
    """

    def __init__(self, engine: LocalEngine, request: Request) -> None:
        model = engine.model
        if request.video is None and model.id != "tiny":
            raise DemoError(f"{model.id} needs a video as haystack", "use one of an hour or longer")
        task = request.task
        if task.kind is Kind.LINES and model.id == BUILTIN_MODEL:
            raise DemoError("the built-in model cannot read lines of text", "use LongVA-7B, and a video as haystack")
        self.needles = task.load(request.needles or default_needles(engine))[: request.num_needles]
        self.grid = task.grid(request.grid)
        self.cells = self.grid.cells(len(self.needles))
        self._engine = engine
        self._request = request
        self._pace = Pace()
        test = {
            **task.facts(self.needles, request.seed),
            "model": model.id,
            "revision": model.revision,
            "quant": model.quant,
            "dtype": model.dtype,
            "haystack": file_sha256(request.video) if request.video else drawn_name(request.seed, task.reserved),
            "frames": sampling_name(request),
            "attribution": request.with_attribution,
        }
        self.file = ResultFile(request.out, test)

    @property
    def done(self) -> list[Result]:
        """The results of this grid. The file may contain more."""
        wanted = set(self.cells)
        return [result for result in self.file.results if result.cell in wanted]

    @property
    def left(self) -> list[Cell]:
        done = self.file.done
        return [cell for cell in self.cells if cell not in done]

    @property
    def time_left(self) -> str:
        """An estimate for the remaining cells, from those of this run."""
        seconds = self._pace.seconds(self.left)
        if seconds is None:
            return "time left unknown"
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"

    def run(self, frames: Iterator[np.ndarray]) -> Iterator[Progress | Result]:
        """Run the remaining cells, and save each result immediately."""
        cells = self.left
        if not cells:
            return
        with tempfile.TemporaryDirectory(dir=own_folder()) as folder:
            haystack = Haystack(self._engine, max(self._request.grid.frames), Path(folder))
            yield from haystack.fill(frames)
            with_attribution, hide = self._request.with_attribution, self._request.task.hide(self._request.seed)
            with closing(run(self._engine, haystack, self.needles, cells, with_attribution, hide=hide)) as events:
                for event in events:
                    if isinstance(event, Result):
                        self.file.add(event)
                        self._pace.add(event)
                    yield event

    def draw(self) -> None:
        """Write the heat map of the results so far.

        Raises:
            DemoError: the files cannot be written.
        """
        if self.done:
            name, model = self._request.task.title, one_line(self._engine.model.id)
            title = f"{name}, {model}: mean score {Summary.of(self.done).forced:.3f}"
            files = [self._request.out / name for name in ("heatmap.png", "heatmap.svg")]
            try:
                draw_heat_map(self.done, self.grid, title, files)
            except OSError as error:
                what = f"cannot write the heat map to {self._request.out} ({error.strerror or error})"
                raise DemoError(what, "free some space, then run the same command again to resume") from error

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        task = self._request.task
        published = PUBLISHED.get(task.kind, {})
        summary = asdict(Summary.of(self.done))
        return {"test": task.title, **summary, "published": published, "out": str(self._request.out)}

    def _crowding(self) -> list[str]:
        """In how many cells of V-NIAH-D no near miss fits, so that they are the plain test."""
        if self._request.task.kind is not Kind.DISTRACTORS:
            return []
        count = sum(not distractor_positions(one.cell, 1, random.Random(0)) for one in self.done)
        return [f"{'cells too small for a near miss':40} {count:,} of {len(self.done):,}"] if count else []

    def report(self) -> str:
        """The scores as a table, frames across and depth down, followed by the means and the published ones."""
        published = PUBLISHED.get(self._request.task.kind, {})
        lines = [
            *table_lines(score_table(self.done), self.grid),
            "",
            *Summary.of(self.done).lines(),
            *self._crowding(),
            *(f"{f'published, {PUBLISHED_NAMES.get(name, name)}':40} {score:.3f}" for name, score in published.items()),
            f"results and heat map: {self._request.out}",
        ]
        return "\n".join(lines)
