"""Chats whose clients send the whole conversation with each question: the OpenAI-compatible API, and MCP.

The session that answered is kept for the next turn. It is found by the SHA-256 of the file and the frame plan, so the
video is neither decoded nor prefilled again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from longva_demo.chat import (
    AnswerStats,
    ChatSession,
    Engine,
    FrameRef,
    ImageSource,
    PicturesSource,
    Progress,
    Sampling,
    Source,
    TextDelta,
    Turn,
    VideoSource,
)
from longva_demo.chat.answering import Answerer
from longva_demo.errors import DemoError
from longva_demo.moments import Finder, Moments, Search
from longva_demo.page.selection import Selection
from longva_demo.quotas import CLIENT, Holding, QuotaError, Quotas
from longva_demo.server.uploads import FilesInUse
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog

# Idle sessions: of one client, of all, and for how long.
MAX_PER_CLIENT, MAX_IDLE, IDLE_SECONDS = 4, 64, 900.0
Key = tuple[str, str, Selection | None, tuple[Selection, ...]]


@dataclass(frozen=True)
class Question:
    """A question with all that came before it.

    selection: the file and its frames; None for text alone.
    sha256: of the file, in hexadecimal; of several, one after another.
    more_pictures: that follow the file, which is a picture then.
    turns: earlier questions and answers.
    """

    text: str
    selection: Selection | None = None
    sha256: str = ""
    more_pictures: tuple[Selection, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    with_attribution: bool = False


@dataclass(frozen=True)
class Answered:
    """The last event of an answer. `num_cached` tokens of its prompt were in the KV cache."""

    turn: Turn
    frames: list[FrameRef]
    notes: list[str]
    num_cached: int


class Stopping(threading.Event):
    """Set when the client has left. Also stops a session in work that yields no events for long."""

    def __init__(self) -> None:
        super().__init__()
        self._session: ChatSession | None = None
        self._lock = threading.Lock()

    def set(self) -> None:
        super().set()
        self.end_answer()

    def end_answer(self) -> None:
        """End the answer at its next token, and nothing else."""
        with self._lock:
            if self._session is not None:
                self._session.stop()

    @contextmanager
    def of(self, session: ChatSession) -> Iterator[None]:
        """Stop `session` during the block, and not later: it may answer another question by then."""
        self._session = session
        try:
            yield
        finally:
            with self._lock:
                self._session = None


@dataclass
class Idle:
    """A session that waits for its next turn, with what it holds of the quotas."""

    session: ChatSession
    held: list[Holding] = field(default_factory=list)
    since: float = 0.0


class IdleSessions:
    """Sessions that wait for their next turn, by client, file and plan; least recently used first."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Key, Idle] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Key) -> Idle | None:
        with self._lock:
            return self._idle.pop(key, None)

    def put(self, key: Key, idle: Idle) -> None:
        """Keep a session. Closes the one that had its place, and what exceeds the limits."""
        idle.since = time.monotonic()
        with self._lock:
            closed = [self._idle.pop(key)] if key in self._idle else []
            self._idle[key] = idle
            own = [other for other in self._idle if other[0] == key[0]]
            surplus = own[:-MAX_PER_CLIENT] or list(self._idle)[:-MAX_IDLE]
            closed += [self._idle.pop(other) for other in surplus]
        for one in closed:
            one.session.close()

    def close_oldest_of(self, client: str) -> bool:
        """Close the session that `client` has not used for longest. Returns False if it has none."""
        with self._lock:
            oldest = next((key for key in self._idle if key[0] == client), None)
            idle = self._idle.pop(oldest) if oldest is not None else None
        if idle is None:
            return False
        idle.session.close()
        return True

    def close_old(self) -> None:
        """Close the sessions that nobody has come back to. housekeeping.py calls it."""
        with self._lock:
            now = time.monotonic()
            old = [self._idle.pop(key) for key, idle in tuple(self._idle.items()) if now - idle.since > IDLE_SECONDS]
        for one in old:
            one.session.close()

    def __len__(self) -> int:
        return len(self._idle)


class Conversations:
    """Answers questions with sessions, under the quotas, limits and log of the page."""

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
        self.settings = settings
        self.idle = IdleSessions()
        self.files_in_use = FilesInUse()
        self._answerer = answerer
        self._finder = finder
        self._events = events
        self._quotas = quotas

    def answer(self, question: Question, stopping: Stopping, where: str) -> Generator[Progress | TextDelta | Answered]:
        """Stream the answer. `where` is for the log: what the client uses.

        Ends without `Answered` if it was stopped before the first word.

        Raises:
            DemoError: as `ChatSession.ask`; the file cannot be used, or a limit was reached.
        """
        with (
            self._quotas.api_questions.hold(CLIENT.get()),
            self._session(question, where) as session,
            stopping.of(session),
        ):
            answered = yield from self._answer(session, question, stopping)
        if answered is not None:  # by now, the next turn finds the session
            yield answered

    def find(self, selection: Selection, search: Search, should_stop: Callable[[], bool]) -> Generator[Moments]:
        """When the video shows something. Yields what is found so far.

        Raises:
            DemoError: the file is not a video or cannot be used, the query is empty, or a limit was reached.
        """
        client = CLIENT.get()
        with self._quotas.api_questions.hold(client), ExitStack() as stack:
            source = stack.enter_context(closing(selection.open_source(self.engine, self.settings)))
            if not isinstance(source, VideoSource):
                raise DemoError("this is a picture", "ask about it with ask_video")
            stack.enter_context(self._quotas.disk_bytes.hold(client, source.planned_bytes))
            yield from self._finder(source, search, should_stop, None)

    def _answer(
        self, session: ChatSession, question: Question, stopping: Stopping
    ) -> Generator[Progress | TextDelta, None, Answered | None]:
        num_own = continue_turns(session, question.turns)
        before = session.turns[-1] if session.turns else None
        with closing(self._answerer(session, question.text, question.sampling, False, stopping)) as events:
            yield from events
        if not session.turns or session.turns[-1] is before:
            return None
        if question.with_attribution and not stopping.is_set():
            session.attribute_last_answer()
        num_cached = num_cached_tokens(session.turns, num_own)
        return Answered(session.turns[-1], session.frames, session.notes, num_cached)

    @contextmanager
    def _session(self, question: Question, where: str) -> Iterator[ChatSession]:
        """A session about the selection: one that was kept, or a new one. Afterwards it is kept for the next turn."""
        client = CLIENT.get()
        key = (client, question.sha256, question.selection, question.more_pictures)
        idle = self.idle.take(key) or self._open(question, client, where)
        is_sound = False
        try:
            yield idle.session
            is_sound = True
        except (DemoError, GeneratorExit):
            is_sound = True
            raise
        finally:
            if is_sound:
                self.idle.put(key, idle)
            else:
                idle.session.close()

    def _open(self, question: Question, client: str, where: str) -> Idle:
        idle = Idle(ChatSession(self.engine))
        if question.selection is None:
            return idle
        with self._events.event("select", where=where, session=idle.session.name) as event:
            sources: list[Source] = []
            try:
                for selection in (question.selection, *question.more_pictures):
                    sources.append(selection.open_source(self.engine, self.settings))
                    event.describe(sources[-1])
                    idle.held += self._hold(sources[-1], client)
                source = sources[0] if len(sources) == 1 else join_pictures(sources)
                event.describe(source)
                idle.session.set_source(source)
            except DemoError:
                for source in sources:
                    source.close()
                raise
        return idle

    def _hold(self, source: Source, client: str) -> list[Holding]:
        """What `source` holds in memory and on the disk. Closes the client's idle sessions as far as it needs them.

        Raises:
            QuotaError: a quota is used up.
        """
        while True:
            try:
                return [
                    Holding(self._quotas.page_bytes, client, source.memory_bytes),
                    Holding(self._quotas.disk_bytes, client, source.planned_bytes),
                ]
            except QuotaError:
                if not self.idle.close_oldest_of(client):
                    raise


def join_pictures(sources: Sequence[Source]) -> PicturesSource:
    images = [source for source in sources if isinstance(source, ImageSource)]
    assert len(images) == len(sources), "only pictures can follow a picture"
    return PicturesSource(images)


def continue_turns(session: ChatSession, turns: tuple[tuple[str, str], ...]) -> int:
    """Let the session have exactly these turns. Returns how many of them it had, with their KV cache.

    Turns that the client has dropped, to ask again, are undone. Others are tokenised and prefilled.
    """
    while len(session.turns) > len(turns):
        session.undo()
    kept = session.turns if all(map(is_same, session.turns, turns)) else []
    if len(kept) == len(turns):
        return len(kept)
    has_frames = session.source is not None
    given = [past_turn(session.engine, *turn, number == 0, has_frames) for number, turn in enumerate(turns)]
    session.resume(session.source, [*kept, *given[len(kept) :]])
    return 0


def is_same(own: Turn, given: tuple[str, str]) -> bool:
    return (own.question.strip(), own.answer.strip()) == (given[0].strip(), given[1].strip())


def past_turn(engine: Engine, question: str, answer: str, is_first: bool, has_frames: bool) -> Turn:
    """A turn of which the client has sent the texts. Markers of the chat template in them stay plain text."""
    question_ids = engine.template.question(question, first=is_first, has_frames=has_frames)
    answer_ids = (*engine.processor.encode_text(answer), engine.template.end_of_turn)
    return Turn(question, answer, AnswerStats(), Sampling(), tuple(question_ids), answer_ids)


def num_cached_tokens(turns: list[Turn], num_own: int) -> int:
    """Tokens of the last prompt that were in the KV cache: the frames, and the turns that the session had itself.

    The marker at the end of the last of these turns was not.
    """
    *past, last = turns
    if not last.stats.reused:
        return 0
    lost = sum(len(turn.ids) for turn in past[num_own:]) + len(last.question_ids) + bool(num_own)
    return max(0, last.stats.num_tokens - lost)
