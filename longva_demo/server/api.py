"""The HTTP endpoints for `gradio_client`: plain inputs, one call, no state between calls."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from longva_demo.chat import ChatSession, Engine, Sampling, Source, TextDelta, VideoSource
from longva_demo.chat.answering import MAX_CONCURRENT_QUESTIONS, Answerer
from longva_demo.errors import DemoError
from longva_demo.folders import own_folder
from longva_demo.moments import PRECISION_SECONDS, Finder, Search, default_frames
from longva_demo.page.errors import plain, streaming
from longva_demo.page.selection import Selection
from longva_demo.quotas import CLIENT, Quotas
from longva_demo.server.uploads import FilesInUse
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog
from longva_demo.timed_text import (
    NUM_FRAMES,
    Collected,
    Request,
    installed_sources,
    matching_lines,
    parse_sources,
    read_lines,
    seldom,
)
from longva_demo.timed_text.store import LineStore
from longva_demo.video import DecodeLimits, probe


class Api:
    """The functions of /sample_frames, /words, /chat and /find. Their docstrings are the API's documentation."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        answerer: Answerer,
        finder: Finder,
        events: EventLog,
        quotas: Quotas,
    ) -> None:
        self.engine = engine
        self.quotas = quotas
        self.events = events
        self.answerer = answerer
        self.finder = finder
        self.settings = settings
        self.files_in_use = FilesInUse()

    @plain
    def sample_frames(self, video: str, num_frames: float = 32, start: str = "", end: str = "") -> dict[str, object]:
        """Which frames of a video the model would be given, and what they cost.

        Args:
            video: a video file
            num_frames: the frame budget
            start: start of the sampled range, in seconds or h:mm:ss; empty for the beginning
            end: end of the range; empty for the end of the video

        Returns:
            "frames": a list of "index" (frame number in the video) and "seconds" (its presentation time); "video":
            facts about the file; "cost": tokens, share of the context, bytes, and the largest budget that fits; "notes"
        """
        with self._opened_source("sample_frames", video, num_frames, start, end) as source:
            if not isinstance(source, VideoSource):
                raise DemoError("the file is not a video", "upload a video file")
            meter = self.engine.meter(source.num_frames)
            planned = zip(source.plan.indices, source.plan.seconds, strict=True)
            # Gradio's client would download a "path".
            facts = {name: value for name, value in source.info.to_dict().items() if name != "path"}
            return {
                "frames": [{"index": index, "seconds": seconds} for index, seconds in planned],
                "video": facts,
                "cost": {**asdict(meter), "context_share": meter.context_share, "fits": meter.fits},
                "notes": list(source.notes),
            }

    @streaming
    def words(
        self,
        video: str,
        subtitles: str | None = None,
        sources: str = "",
        search: str = "",
        num_frames: float = NUM_FRAMES,
        start: str = "",
        end: str = "",
    ) -> Iterator[list[dict[str, Any]]]:
        """What is said and written in a video, with times. Streams the lines so far, sorted by time.

        Args:
            video: a video file
            subtitles: a subtitle file (SubRip, WebVTT, ASS), in place of the video's own
            sources: of "subtitles", "speech" and "screen", separated by commas; empty for all that are installed
            search: only the lines that match these words
            num_frames: how many frames are searched for text
            start: start of the range, in seconds or h:mm:ss; empty for the beginning
            end: end of the range; empty for the end of the video

        Returns:
            a list of "start" and "end" (seconds), "text" and "source"
        """
        selection = Selection.from_fields(video, num_frames, start, end, self.settings.decoder, self.settings)
        if selection is None:
            raise DemoError("there is no video", "upload a video file")
        request = Request(
            sources=parse_sources(sources) if sources else installed_sources()[0],
            subtitles=Path(subtitles) if subtitles else None,
            looks_beside=False,
            num_frames=selection.num_frames,
            start_seconds=selection.start_seconds or 0.0,
            end_seconds=selection.end_seconds,
            speech_model=self.settings.speech_model,
            may_download=False,
            store=LineStore(own_folder() / "words"),  # deleted when the server ends
        )
        limits, found = DecodeLimits.from_settings(self.settings), Collected()
        files = [Path(file) for file in (video, subtitles) if file]
        with self.files_in_use.using(*files), self.events.event("words", sources=request.sources) as event:
            for update in seldom(read_lines(probe(selection.path, limits), request, limits)):
                found.add(update)
                event.facts["lines"] = len(found.lines)
                yield [line.to_dict() for line in matching_lines(found.lines, search)]

    @streaming
    def chat(
        self,
        question: str,
        video: str | None = None,
        num_frames: float = 32,
        start: str = "",
        end: str = "",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: float = 256,
    ) -> Iterator[str]:
        """Answer a question about a video or picture, or without one. Streams the answer so far.

        Args:
            question: the question
            video: a video or picture file; none for a question without one
            num_frames: the frame budget
            start: start of the sampled range, in seconds or h:mm:ss; empty for the beginning
            end: end of the range; empty for the end of the video
            temperature: 0 always takes the most likely token
            top_p: sample from the most likely tokens that together reach this probability
            max_new_tokens: the longest answer, in tokens
        """
        sampling = Sampling.from_fields(temperature, top_p, max_new_tokens)
        with (
            self._opened_source("chat", video, num_frames, start, end) as source,
            closing(ChatSession(self.engine)) as session,
        ):
            session.set_source(source)
            answer = ""
            for event in self.answerer(session, question or "", sampling, False, threading.Event()):
                if isinstance(event, TextDelta):
                    answer += event.text
                    yield answer

    @streaming
    def find(
        self,
        query: str,
        video: str,
        num_frames: float = 256,
        start: str = "",
        end: str = "",
        precision: float = PRECISION_SECONDS,
        window: float = 1,
    ) -> Iterator[dict[str, object]]:
        """When a video shows something: the model is asked about each frame on its own. Streams what is found so far.

        Args:
            query: what to look for, such as "a red star", or a question with the answer yes or no
            video: a video file
            num_frames: the frame budget; as many frames again are used around the edges of what is found
            start: start of the searched range, in seconds or h:mm:ss; empty for the beginning
            end: end of the range; empty for the end of the video
            precision: how well the ends of a range should be known, in seconds
            window: how many consecutive samples are shown at a time, for what moves

        Returns:
            "frames": a list of "index", "seconds" and "score" (the probability of yes); "ranges": a list of "start",
            "end", "score" and "best" (the time of the best frame), in seconds
        """
        search = Search.from_fields(query, precision, window)
        with self._opened_source("find", video, num_frames, start, end) as source:
            if not isinstance(source, VideoSource):
                raise DemoError("the file is not a video", "upload a video file")
            num_before = 0
            for found in self.finder(source, search, lambda: False, None):
                if len(found.frames) > num_before or found.progress is None:
                    num_before = len(found.frames)
                    yield found.to_dict()

    @contextmanager
    def _opened_source(
        self, where: str, video: str | None, num_frames: float, start: str, end: str
    ) -> Iterator[Source | None]:
        """The source, which is closed afterwards. Meanwhile its file counts as in use."""
        selection = Selection.from_fields(video, num_frames, start, end, self.settings.decoder, self.settings)
        if selection is None:
            yield None
            return
        with self.files_in_use.using(selection.path):
            with self.events.event("select", where=where, session=None) as event:
                source = selection.open_source(self.engine, self.settings)
                event.describe(source)
            with closing(source), self.quotas.disk_bytes.hold(CLIENT.get(), source.planned_bytes):
                yield source

    def bind(self) -> None:
        """Add the endpoints to the current Blocks. Gradio requires a component for each parameter."""
        with gr.Column(visible=False):
            video = gr.File(label="video")
            budget = gr.Number(self.engine.default_frames, label="num_frames")
            start, end = gr.Textbox("", label="start"), gr.Textbox("", label="end")
            frames = gr.JSON(label="frames")
            gr.Button().click(
                self.sample_frames, [video, budget, start, end], frames, api_name="sample_frames", queue=True
            )
            subtitles, lines = gr.File(label="subtitles"), gr.JSON(label="lines")
            sources, search = gr.Textbox("", label="sources"), gr.Textbox("", label="search")
            searched = gr.Number(NUM_FRAMES, label="num_frames")
            inputs = [video, subtitles, sources, search, searched, start, end]
            gr.Button().click(self.words, inputs, lines, api_name="words", queue=True)
            question, answer = gr.Textbox(label="question"), gr.Textbox(label="answer")
            temperature = gr.Number(0.0, label="temperature")
            top_p = gr.Number(1.0, label="top_p")
            longest = gr.Number(self.settings.max_new_tokens, label="max_new_tokens")
            inputs = [question, video, budget, start, end, temperature, top_p, longest]
            gr.Button().click(self.chat, inputs, answer, api_name="chat", concurrency_limit=MAX_CONCURRENT_QUESTIONS)
            query, moments = gr.Textbox(label="query"), gr.JSON(label="moments")
            windows = gr.Number(default_frames(self.engine), label="num_frames")
            precision, window = gr.Number(PRECISION_SECONDS, label="precision"), gr.Number(1, label="window")
            inputs = [query, video, windows, start, end, precision, window]
            gr.Button().click(self.find, inputs, moments, api_name="find", concurrency_limit=MAX_CONCURRENT_QUESTIONS)
