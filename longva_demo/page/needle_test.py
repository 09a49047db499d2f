"""V-NIAH on the visitor's own video: needles are hidden among its sampled frames, and the scores fill a heat map."""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import Any

import gradio as gr
import torch

from longva_demo.chat import AdmissionQueue, LocalEngine, Progress, Stage, VideoSource
from longva_demo.chat.engine import Stop
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES
from longva_demo.chat.zero_gpu import is_zero_gpu
from longva_demo.errors import DemoError
from longva_demo.niah import Cell, Grid, Needle, Result, Summary, load_needles, run
from longva_demo.niah.command import default_needles
from longva_demo.niah.run import Pace
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.i18n import Message, message
from longva_demo.page.jpeg import thumbnail_url
from longva_demo.page.progress import progress_message
from longva_demo.page.sessions import Pages
from longva_demo.page.transcript import Value
from longva_demo.telemetry import EventLog

# Small enough that a visitor can wait for the end.
DEPTHS, NUM_NEEDLES, MAX_FRAMES = (0.0, 0.25, 0.5, 0.75, 1.0), 3, 512
PICTURE_SIDE, PICTURE_QUALITY = 72, 80
Steps = Generator[Progress | Result]


class NeedleTests:
    """Handlers of the panel. Output: its value; see `make_needle_test`."""

    def __init__(self, engine: LocalEngine, pages: Pages, queue: AdmissionQueue, events: EventLog) -> None:
        self.engine = engine
        self.events = events
        self.pages = pages
        self.queue = queue

    def bind(self, panel: gr.HTML, asked_at: gr.Number) -> None:
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "js": NOW}
        panel.start(self.start, asked_at, panel, trigger_mode="multiple", **hidden)
        panel.stop(self.stop, asked_at, None, queue=False, **hidden)

    @plain
    def stop(self, asked_at: float, request: gr.Request) -> None:
        self.pages.get(request.session_hash).needle_test_task.stop(asked_at)

    @streaming
    def start(self, asked_at: float, request: gr.Request) -> Iterator[Value]:
        """Hide needles among the sampled frames. The chat stays usable; another selection ends the test.

        asked_at: in ms on the browser's clock. A start that a newer act has overtaken is ignored.
        """
        page = self.pages.get(request.session_hash)
        if asked_at < max(page.selection_asked_at, page.needle_test_task.asked_at):
            return
        stop = page.needle_test_task.start(asked_at)
        source = page.source
        if not isinstance(source, VideoSource):
            raise DemoError("there is no video to hide a needle in", "choose one, then start the test")
        if is_zero_gpu():
            raise DemoError(
                "the needle test needs a permanent GPU", "run longva-demo niah VIDEO on a machine that has one"
            )

        def should_stop() -> bool:
            return stop.is_set() or page.source is not source

        test = LiveTest(
            asked_at, min(source.num_frames, MAX_FRAMES), load_needles(default_needles(self.engine))[:NUM_NEEDLES]
        )
        failure: Exception | None = None
        try:
            steps = self._queued(self._steps(source, test, should_stop), test, should_stop)
            for event in self._logged(page.session.name, test, steps):
                test.update(event)
                yield test.value
                if should_stop() or test.is_done:
                    break
        except Exception as error:
            failure = error
        test.finish()
        yield test.value
        if failure is not None:
            raise failure

    def _logged(self, session: str, test: "LiveTest", steps: Steps) -> Steps:
        """Pass the events of a test on. When it ends, it is logged."""
        facts = {"session": session, "frames": 0, "asked": 0, "right": 0}
        with self.events.event("needle_test", **facts) as log_entry, closing(steps):
            with suppress(GeneratorExit):  # the test was stopped
                for event in steps:
                    if isinstance(event, Result):
                        log_entry.facts["asked"] += 1
                        log_entry.facts["right"] += event.generated
                    yield event
            log_entry.facts["frames"] = test.num_frames
            log_entry.outcome = "done" if test.is_done else "stopped"

    def _queued(self, steps: Steps, test: "LiveTest", should_stop: Stop) -> Steps:
        """Queue again for each chunk of frames and each cell, so that chats get their turns in between."""
        with self.queue.enqueue(test.num_frames) as ticket, closing(steps):
            while True:
                yield from self.queue.wait(ticket, should_stop)
                event = next(steps, None) if ticket.admitted.is_set() else None
                if event is None:
                    return
                yield event
                if isinstance(event, Result) or event.stage == Stage.ENCODING:
                    self.queue.requeue(ticket)

    def _steps(self, source: VideoSource, test: "LiveTest", should_stop: Stop) -> Steps:
        features: list[torch.Tensor] = []
        for pixels in source.pixels(PREFILL_CHUNK_FRAMES, should_stop):
            if pixels is not None:
                features.append(self.engine.encode_frames(pixels).cpu())
            done = sum(map(len, features))
            yield Progress(Stage.ENCODING, min(done, test.num_frames), test.num_frames)
            if done >= test.num_frames:
                break
        if features and not should_stop():
            frames = torch.cat(features)[: test.num_frames]
            test.set_grid(len(frames))  # some may not have been decodable
            with closing(run(self.engine, frames, test.needles, test.cells, stop=should_stop)) as events:
                yield from events


class LiveTest:
    """A running test. `value` is what the panel shows."""

    def __init__(self, asked_at: float, num_frames: int, needles: list[Needle]) -> None:
        self.needles = needles
        self._results: list[Result] = []
        self._pace = Pace()
        self.value: dict[str, Any] = {
            "asked_at": asked_at,
            "needles": [
                {"name": needle.name, "picture": thumbnail_url(needle.picture, PICTURE_SIDE, PICTURE_QUALITY)}
                for needle in needles
            ],
            "state": message("progress.waiting"),
            "running": True,
        }
        self.set_grid(num_frames)

    def set_grid(self, num_frames: int) -> None:
        """Test a quarter, half and all of the frames."""
        self.num_frames = num_frames
        self.grid = Grid(tuple(sorted({max(1, num_frames // part) for part in (4, 2, 1)})), DEPTHS)
        scores = [[None for _ in self.grid.frames] for _ in self.grid.depths]
        self.value |= {"sizes": self.grid.frames, "depths": self.grid.depths, "scores": scores}

    @property
    def cells(self) -> list[Cell]:
        return self.grid.cells(len(self.needles))

    @property
    def is_done(self) -> bool:
        return len(self._results) == len(self.cells)

    def update(self, event: Progress | Result) -> None:
        if isinstance(event, Result):
            self._results.append(event)
            self._pace.add(event)
            row, column = self.grid.depths.index(event.cell.depth), self.grid.frames.index(event.cell.frames)
            right, asked = self.value["scores"][row][column] or (0, 0)
            self.value["scores"][row][column] = (right + event.generated, asked + 1)
        if isinstance(event, Progress) and event.stage == Stage.QUEUED:
            self.value["state"] = progress_message(event)
        elif isinstance(event, Progress) and event.stage == Stage.ENCODING:
            self.value["state"] = message("needle.encoding", done=event.done, total=event.total)
        else:
            self.value["state"] = self._remaining()

    def _remaining(self) -> Message:
        done = len(self._results)
        seconds = self._pace.seconds(self.cells[done:])
        if seconds is None:
            return message("needle.asking", done=done, total=len(self.cells))
        return message("needle.asking_time", done=done, total=len(self.cells), duration=seconds)

    def finish(self) -> None:
        """Show the summary. No more events follow."""
        summary = Summary.of(self._results)
        right = sum(result.generated for result in self._results)
        ended = "needle.done" if self.is_done else "needle.stopped"
        self.value["state"] = message(ended, right=right, total=len(self._results), share=summary.attributed or 0.0)
        self.value["running"] = False
