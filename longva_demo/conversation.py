"""A chat in Python: `longva.open`."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from longva_demo.chat import (
    Attribution,
    Capability,
    ChatSession,
    Engine,
    FrameRef,
    ImageSource,
    Progress,
    Sampling,
    Source,
    TextDelta,
    Turn,
    VideoSource,
    open_engine,
)
from longva_demo.chat.open_engine import in_process
from longva_demo.errors import DemoError
from longva_demo.frames import probe_and_plan
from longva_demo.moments import PRECISION_SECONDS, Moments, Search, find_moments
from longva_demo.settings import SETTINGS, Settings, variable_of
from longva_demo.video import FramePlan, VideoInfo, is_picture, plan_frames

DEFAULTS = Settings()


class Chat:
    """A conversation about one video or picture. The first question prefills the video; later ones reuse it.

    Use it in a `with` block, or call `close()`, to free the cache and the stored frames.
    """

    def __init__(self, session: ChatSession) -> None:
        self._session = session

    def stream(
        self, question: str, *, temperature: float = 0.0, top_p: float = 1.0, max_new_tokens: int | None = None
    ) -> Iterator[str]:
        """Yield the answer in pieces of text as the model writes it.

        Raises:
            DemoError: the question is empty, the context or the memory is full, or the video cannot be read.
        """
        for event in self.stream_events(question, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens):
            if isinstance(event, TextDelta):
                yield event.text

    def stream_events(
        self, question: str, *, temperature: float = 0.0, top_p: float = 1.0, max_new_tokens: int | None = None
    ) -> Iterator[Progress | TextDelta]:
        """The same with progress before the first word: `Progress` events, then `TextDelta` events."""
        if max_new_tokens is None:
            max_new_tokens = self._session.engine.settings.max_new_tokens
        yield from self._session.ask(question, Sampling(temperature, top_p, max_new_tokens))

    def answer(
        self, question: str, *, temperature: float = 0.0, top_p: float = 1.0, max_new_tokens: int | None = None
    ) -> str:
        """The whole answer."""
        return "".join(self.stream(question, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens))

    def find(self, query: str, *, precision: float = PRECISION_SECONDS, window: int = 1) -> Moments:
        """When the video shows something; see `longva.find`. The frames are those of the chat, and encoded only once.

        Raises:
            DemoError: the chat is not about a video, the query is empty, or the model is not in this process.
        """
        source = self._session.source
        if not isinstance(source, VideoSource):
            raise DemoError("this chat is not about a video", "open one")
        engine = in_process(self._session.engine, Capability.WINDOWS)
        *_, found = find_moments(engine, source, Search(query, precision, window), lambda: False)
        return found

    @property
    def frames(self) -> list[FrameRef]:
        """The frames that the model has seen, with index and seconds. Empty before the first question."""
        return self._session.frames

    @property
    def turns(self) -> list[Turn]:
        """Questions and answers so far, oldest first."""
        return list(self._session.turns)

    @property
    def notes(self) -> list[str]:
        """What was lost or guessed when the file was read, one sentence each."""
        return self._session.notes

    @property
    def attribution(self) -> Attribution | None:
        """Which frames the last answer relied on; None for a picture, text alone, or before the first answer.

        `attribution.used_frames` are positions in `frames`. The first access hides the frames with most attention in
        turn, which takes a few forward passes; docs/attribution.md describes the method.
        """
        turns = self._session.turns
        if turns and turns[-1].attribution is not None and turns[-1].attribution.log_prob_drops is None:
            self._session.attribute_last_answer()
        return self._session.turns[-1].attribution if turns else None

    def stop(self) -> None:
        """Stop a running answer from another thread. The text so far becomes the turn."""
        self._session.stop()

    def close(self) -> None:
        """Free the cache and the stored frames."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        path = self._session.source.path if self._session.source is not None else None
        about = path.name if path is not None else "text alone"
        return f"<Chat about {about}, {self._session.engine.model.id}, {len(self.turns)} turns>"


def open(
    path: str | Path | None,
    frames: int | None = None,
    model: str = DEFAULTS.model,
    quant: str = DEFAULTS.quant,
    start: float | str = 0.0,
    end: float | str | None = None,
    device: str = DEFAULTS.device,
    number_frames: bool = False,
    engine: str = DEFAULTS.engine,
) -> Chat:
    """Open a video or a picture to ask about. Chats with the same model share it in memory.

    Args:
        path: a video or picture file; None for a chat without one.
        frames: how many frames to sample at most; by default 32, or on a slow processor what it reads in a minute.
        model: "auto", "tiny" (the built-in model), a folder, or a Hub id.
        quant: "auto", "none", "8bit" (on the CPU) or "4bit".
        start, end: the range to sample from, in seconds or as "h:mm:ss".
        device: "auto", "cuda" or "cpu".
        number_frames: draw each frame's number on the pixels that the model is given (docs/moments.md).
        engine: the address of an engine elsewhere (docs/scale.md); its key is in LONGVA_ENGINE_KEY.

    Raises:
        DemoError: the file cannot be used, the range is outside it, or the frames do not fit.
    """
    file = None if path is None else Path(path)
    # Loading the model takes long, so errors in the file come first.
    video: tuple[VideoInfo, FramePlan] | None = None
    if file is not None and not is_picture(file):
        video = probe_and_plan(file, DEFAULTS.num_frames if frames is None else frames, start, end)
    opened = load_engine(model, quant, device, engine)
    source: Source | None = None
    if video is not None:
        info, plan = video
        if frames is None and opened.default_frames != DEFAULTS.num_frames:
            plan = plan_frames(info, opened.default_frames, plan.start_seconds, plan.end_seconds)
        source = VideoSource(info, plan, opened.processor, has_numbers=number_frames)
    elif file is not None:
        source = ImageSource(file, opened.processor)
    session = ChatSession(opened)
    session.set_source(source)
    return Chat(session)


@lru_cache(maxsize=1)
def load_engine(model: str, quant: str, device: str, engine: str) -> Engine:
    """The engine that chats share; a call for another model frees it once no chat uses it."""
    key = os.environ.get(variable_of(SETTINGS["engine_key"]), "")
    return open_engine(Settings(model=model, quant=quant, device=device, engine=engine, engine_key=key))
