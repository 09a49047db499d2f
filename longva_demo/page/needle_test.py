"""V-NIAH on the visitor's own video: needles are hidden among its sampled frames, and a heat map fills in."""

import base64
import io
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import Any

import gradio as gr
import torch
from PIL import Image

from longva_demo.chat import AdmissionQueue, Engine, Progress, Stage, VideoSource
from longva_demo.chat.answering import is_zero_gpu
from longva_demo.chat.engine import Stop
from longva_demo.chat.prefill import PREFILL_CHUNK_FRAMES
from longva_demo.errors import DemoError
from longva_demo.niah import Cell, Grid, Needle, Result, Summary, load_needles, run
from longva_demo.niah.command import default_needles
from longva_demo.niah.run import Pace
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import plain, streaming
from longva_demo.page.handlers import progress_message
from longva_demo.page.i18n import Message, message
from longva_demo.page.sessions import Pages
from longva_demo.telemetry import EventLog

# Small enough to be done while somebody looks on.
DEPTHS, NUM_NEEDLES, MAX_FRAMES = (0.0, 0.25, 0.5, 0.75, 1.0), 3, 512
PICTURE_SIDE = 72
Steps = Generator[Progress | Result]


class NeedleTests:
    """Handlers of the panel. Output: its value, see `make_needle_test`."""

    def __init__(self, engine: Engine, pages: Pages, queue: AdmissionQueue, events: EventLog) -> None:
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
        page = self.pages.get(request.session_hash)
        if asked_at >= page.testing_at:
            page.testing.set()

    @streaming
    def start(self, asked_at: float, request: gr.Request) -> Iterator[dict[str, Any]]:
        """Hide needles among the frames that are shown. Another video ends the test; the chat goes on beside it.

        asked_at: ms on the page's own clock; a start that comes after a newer act is left undone.
        """
        page = self.pages.get(request.session_hash)
        if asked_at < max(page.asked_at, page.testing_at):
            return
        page.testing_at = asked_at
        source = page.source
        if not isinstance(source, VideoSource):
            raise DemoError("there is no video to hide a needle in", "choose one, then start the test")
        if is_zero_gpu():
            raise DemoError("the test needs a GPU that is kept", "run it on a machine with one: longva-demo niah VIDEO")
        page.testing.set()  # ends a test that may be running
        stop = page.testing = threading.Event()

        def over() -> bool:
            return stop.is_set() or page.source is not source

        test = LiveTest(
            asked_at, min(source.num_frames, MAX_FRAMES), load_needles(default_needles(self.engine))[:NUM_NEEDLES]
        )
        failure: Exception | None = None
        try:
            steps = self._in_turns(self._steps(source, test, over), test, over)
            for event in self._logged(page.session.name, test, steps):
                yield test.take(event)
                if over() or test.is_done:
                    break
        except Exception as error:
            failure = error
        test.end()
        yield test.value
        if failure is not None:
            raise failure

    def _logged(self, session: str, test: "LiveTest", steps: Steps) -> Steps:
        """Pass the events of a test on; its end is one line in the log."""
        facts = {"session": session, "frames": 0, "asked": 0, "right": 0}
        with self.events.event("needle_test", **facts) as this, closing(steps):
            with suppress(GeneratorExit):  # a test that is stopped
                for event in steps:
                    if isinstance(event, Result):
                        this.facts["asked"] += 1
                        this.facts["right"] += event.generated
                    yield event
            this.facts["frames"] = test.num_frames
            this.outcome = "done" if test.is_done else "stopped"

    def _in_turns(self, steps: Steps, test: "LiveTest", over: Stop) -> Steps:
        """A turn in the waiting line for each chunk of frames and each cell: others have theirs in between."""
        with self.queue.join(test.num_frames) as place, closing(steps):
            while True:
                yield from self.queue.wait(place, over)
                event = next(steps, None) if place.called.is_set() else None
                if event is None:
                    return
                yield event
                if isinstance(event, Result) or event.stage == Stage.ENCODING:
                    self.queue.requeue(place)

    def _steps(self, source: VideoSource, test: "LiveTest", over: Stop) -> Steps:
        features: list[torch.Tensor] = []
        for pixels in source.pixels(PREFILL_CHUNK_FRAMES, over):
            if pixels is not None:
                features.append(self.engine.encode_frames(pixels).cpu())
            done = sum(map(len, features))
            yield Progress(Stage.ENCODING, min(done, test.num_frames), test.num_frames)
            if done >= test.num_frames:
                break
        if features and not over():
            frames = torch.cat(features)[: test.num_frames]
            test.lay_out(len(frames))  # some may not have been decodable
            with closing(run(self.engine, frames, test.needles, test.cells, stop=over)) as events:
                yield from events


class LiveTest:
    """A running test as the page shows it."""

    def __init__(self, asked_at: float, num_frames: int, needles: list[Needle]) -> None:
        self.needles = needles
        self._results: list[Result] = []
        self._pace = Pace()
        self.value: dict[str, Any] = {
            "asked_at": asked_at,
            "needles": [{"name": needle.name, "picture": data_url(needle.picture)} for needle in needles],
            "state": message("progress.waiting"),
            "running": True,
        }
        self.lay_out(num_frames)

    def lay_out(self, num_frames: int) -> None:
        """Have a grid for so many frames: a quarter, half and all of them."""
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

    def take(self, event: Progress | Result) -> dict[str, Any]:
        """The panel's value after an event."""
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
            self.value["state"] = self._asking()
        return self.value

    def _asking(self) -> Message:
        done = len(self._results)
        seconds = self._pace.seconds(self.cells[done:])
        if seconds is None:
            return message("needle.asking", done=done, total=len(self.cells))
        return message("needle.asking_time", done=done, total=len(self.cells), duration=seconds)

    def end(self) -> None:
        """No more will come."""
        summary = Summary.of(self._results)
        right = sum(result.generated for result in self._results)
        ended = "needle.done" if self.is_done else "needle.stopped"
        self.value["state"] = message(ended, right=right, total=len(self._results), share=summary.attributed or 0.0)
        self.value["running"] = False


def data_url(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
