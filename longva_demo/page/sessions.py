"""What belongs to one open page: its chat session, what it looks at, and the transcript. Pages never share these."""

import copy
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from longva_demo.chat import ChatSession, Engine, Source, Turn, VideoSource
from longva_demo.chat.record import ChatRecord, record_chat
from longva_demo.errors import DemoError
from longva_demo.page.attribution import attribution_entry
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.components.preview import Preview
from longva_demo.page.export import Part, make_thumbnails
from longva_demo.page.facts import stats_messages
from longva_demo.page.i18n import message
from longva_demo.page.selection import WHOLE, RecentViews, SampledView, Selection, trail_to
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits, VideoInfo, probe

# A page that was not used for this long is closed even if its browser never said goodbye.
IDLE_SECONDS = 3 * 3600.0
# One whose browser went away may come back: a laptop slept, the network changed.
AWAY_SECONDS = 300.0
# Closed pages that are remembered, so that a tab that is still open is not taken for a new visitor.
MAX_CLOSED = 10_000
# How long a new video, or the end of a page, waits for the old answer to stop.
STOP_SECONDS = 60.0


class Selected(NamedTuple):
    """What the page looks at, and when its browser asked for it, in ms on its own clock."""

    view: SampledView | None
    asked_at: float


@dataclass
class Page:
    """One visitor. `answering` is held while an answer is written; the view is new with each look, or a kept one.

    past: the chats about earlier looks, which the transcript still shows.
    """

    session: ChatSession
    selected: Selected = field(default=Selected(None, 0.0))
    kept: RecentViews = field(default_factory=RecentViews)
    transcript: list[dict[str, Any]] = field(default_factory=list)
    past: list[Part] = field(default_factory=list)
    answering: threading.Lock = field(default_factory=threading.Lock)
    turning: threading.Lock = field(default_factory=threading.Lock)  # a chat becomes one of the past
    opening: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    testing: threading.Event = field(default_factory=threading.Event)  # set: the needle test is to end
    weighing: bool = False  # `answering` is held, but only to see which frames mattered
    preview: Preview | None = None
    asked_at: float = 0.0  # when the browser asked for the last look, ms on its clock; so the next three
    chatted_at: float = 0.0  # for the last question, or to take something back
    answering_at: float = 0.0  # for the answer that is being written
    testing_at: float = 0.0  # for the last needle test
    returned: dict[str, Any] | None = None  # the last question that could not be answered: it goes back to its field
    token: str = field(default_factory=lambda: secrets.token_hex(8))  # names it in the browser's own store
    used: float = 0.0
    left: float | None = None  # since when its browser is away

    @property
    def view(self) -> SampledView | None:
        return self.selected.view

    @property
    def source(self) -> Source | None:
        return self.session.source

    @property
    def look(self) -> Selection | None:
        return self.view.look if self.view else None

    @property
    def sheets(self) -> Sheets | None:
        return self.view.sheets if self.view else None

    @property
    def files(self) -> set[Path]:
        """What this page looks at, or can come back to."""
        looks = [self.look.path] if self.look else []
        return {*looks, *self.kept.files}

    def select(
        self, look: Selection | None, engine: Engine, settings: Settings, asked_at: float = math.inf
    ) -> Sheets | None:
        """Turn to `look`, stopping an answer about something else; returns the sheets for its frames.

        Where another budget or range of the same file fails, everything stays; where a new file fails, the page
        looks at nothing, so that no question is answered about another video than the one that is shown.
        A look that was asked for before the last one is left undone. `selected` says which look the view answers.
        """
        with self.opening:
            if asked_at < self.asked_at:
                return self.sheets
            if asked_at < math.inf:
                self.asked_at = asked_at
            if self.preview is not None and (look is None or look.path != self.preview.path):
                self._drop_preview()
            try:
                if look != self.look:
                    self._turn_to(self._view_of(look, engine, settings) if look else None)
            except Exception:
                if look is None or self.look is None or look.path != self.look.path:
                    self._turn_to(None)
                raise
            finally:
                self.selected = Selected(self.view, self.asked_at)
            return self.sheets

    @property
    def is_answering(self) -> bool:
        return self.answering.locked() and not self.weighing

    @property
    def has_open_turn(self) -> bool:
        """Whether an answer is being written; what else holds `answering` leaves the turns as they are."""
        return bool(self.transcript) and "status" in self.transcript[-1]

    def is_late(self, asked_at: float) -> bool:
        """Whether something newer was done in the chat than what was asked for then; remembers the newest."""
        late = asked_at < self.chatted_at
        self.chatted_at = max(self.chatted_at, asked_at)
        return late

    def give_back(self, question: str) -> None:
        """Have the page put a question without an answer back into its field."""
        self.returned = {"at": time.monotonic(), "question": question}

    def start_preview(self, path: Path) -> Preview:
        """The preview of this file: the old one where it is ready, else a new one that is to be made."""
        with self.opening:
            if self.preview is None or self.preview.path != path or not self.preview.is_ready:
                self._drop_preview()
                self.preview = Preview(path)
            return self.preview

    def start_video_preview(self, path: Path, limits: DecodeLimits) -> tuple[Preview, VideoInfo]:
        """`start_preview`, and what the video is.

        Raises:
            VideoError: the file cannot be used.
        """
        with self.opening:  # a look at the same file saves a second probe
            info = Selection(path, 1).known(self.source) or probe(path, limits)
        return self.start_preview(path), info

    def _drop_preview(self) -> None:
        if self.preview is not None:
            self.preview.close()
        self.preview = None

    def give_up(self, sheets: Sheets) -> None:
        """Look at nothing, unless something else is looked at by now: the frames for `sheets` could not be read."""
        with self.opening:
            if self.sheets is sheets:
                self._turn_to(None)

    def stop(self) -> None:
        """End the running answer, wherever it is written."""
        self.stopping.set()
        self.session.stop()

    def _view_of(self, look: Selection, engine: Engine, settings: Settings) -> SampledView:
        """A kept view of `look`, or a new one; either with the way to its range."""
        is_same_file = self.look is not None and self.look.path == look.path
        trail = trail_to(look.range, self.view.trail if self.view and is_same_file else (WHOLE,))
        kept = self.kept.find(look)
        if kept is not None:
            return replace(kept, trail=trail)
        source = look.open(engine, settings, self.source)
        return SampledView(look, source, Sheets(source.num_frames), trail)

    def _turn_to(self, view: SampledView | None) -> None:
        self.stop()
        with self.alone(STOP_SECONDS):
            part = self.part()
            with self.turning:
                self.session.set_source(view.source if view else None)
                if part is not None and not self.session.turns:
                    self.past.append(part)
                old, self.selected = self.view, Selected(view, self.selected.asked_at)
            if view is not None:
                self.kept.take(view.look)
            if old is not None:
                self.kept.put(old)
            if not self.session.turns and self.transcript:
                if self.transcript[-1]["kind"] == "note":
                    self.transcript.pop()
                self.transcript.append({"kind": "note", "text": message("chat.fresh")})

    @contextmanager
    def alone(self, timeout: float = 0.0) -> Iterator[None]:
        """Raises DemoError when an answer is being written and has not ended after `timeout` seconds."""
        if self.weighing:
            self.session.stop()
            timeout = max(timeout, STOP_SECONDS)
        if not self.answering.acquire(timeout=timeout) if timeout else not self.answering.acquire(blocking=False):
            raise DemoError("an answer is still being written", "wait for its end, or press Stop")
        try:
            yield
        finally:
            self.answering.release()

    def settle(self, turn: Turn | None, old: dict[str, Any] | None) -> None:
        """Put the finished turn in place of the unfinished entry; without one, what stood there before, if anything."""
        self.transcript.pop()
        if turn is not None:
            if isinstance(self.source, VideoSource) and not turn.stats.reused:
                self.session.engine.prefill_times.add(self.source.num_frames, turn.stats.seconds_to_first_token)
            stats = stats_messages(turn.stats, turn.answer, self.source is not None)
            entry = {"kind": "turn", "question": turn.question, "answer": turn.answer, "stats": stats}
            self.transcript.append(entry | attribution_entry(turn, self.source))
        elif old is not None:
            self.transcript.append(old)

    def weigh(self) -> bool:
        """Find the frames that the last answer drew on; False where nothing was found. A new question ends it."""
        if not self.answering.acquire(blocking=False):
            return False
        try:
            self.weighing = True
            turn = self.session.attribute_last_answer()
            if turn is not None:
                self.turn_entries()[-1].update(attribution_entry(turn, self.source))
            return turn is not None
        finally:
            self.weighing = False
            self.answering.release()

    def drop_turn(self) -> None:
        """Take the last turn out of the transcript."""
        while self.transcript and self.transcript.pop()["kind"] != "turn":
            pass

    def turn_entries(self) -> list[dict[str, Any]]:
        """The transcript's entries of the turns that the session remembers, in the same order."""
        finished = [entry for entry in self.transcript if entry["kind"] == "turn" and "status" not in entry]
        return finished[max(0, len(finished) - len(self.session.turns)) :]

    def turn_at(self, number: int) -> tuple[dict[str, Any], Turn]:
        """The transcript's entry `number` and its turn; raises DemoError where the session remembers none."""
        for entry, turn in zip(self.turn_entries(), self.session.turns, strict=True):
            if 0 <= number < len(self.transcript) and entry is self.transcript[number]:
                return entry, turn
        raise DemoError("this answer is about frames that are no longer there", "ask again")

    def record(self) -> ChatRecord | None:
        """The turns that the session remembers; None without any."""
        if not self.session.turns:
            return None
        return record_chat(self.session, self.look.num_frames if self.look is not None else 0)

    def part(self) -> Part | None:
        """The same, ready to be saved as a page."""
        record = self.record()
        if record is None:
            return None
        checks = tuple(copy.deepcopy(entry) for entry in self.turn_entries())
        used_frames = [frame for turn in record.turns for frame in turn.attribution]
        return Part(record, make_thumbnails(self.source, used_frames), checks)

    def shown(self) -> dict[str, Any]:
        """The transcript for the page, and a question that goes back to its field.

        Two handlers may send theirs in another order than they made them: the page shows the newer one.
        """
        return {"at": time.monotonic(), "entries": self.entries(), "returned": self.returned}

    def entries(self) -> list[dict[str, Any]]:
        """The transcript: while the session knows them, each turn can be checked, the last one undone."""
        if isinstance(self.source, VideoSource):
            checks = ["blind", "compare"]
        else:
            checks = ["blind"] if self.source is not None else []
        remembered = self.turn_entries()
        entries = []
        for entry in self.transcript:
            entries.append(copy.deepcopy(entry))
            if any(entry is other for other in remembered):
                entries[-1]["checks"] = checks
            if not remembered or entry is not remembered[-1]:
                entries[-1].pop("heat", None)
        if entries and remembered and self.transcript[-1] is remembered[-1]:
            entries[-1]["tools"] = True
        return entries

    def is_over(self, now: float) -> bool:
        """Whether nobody comes back to it."""
        is_away = self.left is not None and now - self.left > AWAY_SECONDS
        return (is_away or now - self.used > IDLE_SECONDS) and not self.answering.locked()

    def close(self) -> None:
        self.selected = Selected(None, self.asked_at)
        self._drop_preview()
        self.testing.set()
        self.stop()
        self.session.close()
        self.kept.close()


class Pages:
    """The open pages, by Gradio's session hash."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._now = now
        self._pages: dict[str, Page] = {}
        self._closed: dict[int, None] = {}  # hashes of the sessions, oldest first: the names are the clients' own
        self._lock = threading.Lock()

    def get(self, session_hash: str | None) -> Page:
        """The page of this session, made when it is new; its browser is there."""
        with self._lock:
            page = self._pages.setdefault(str(session_hash), Page(ChatSession(self._engine)))
            page.used, page.left = self._now(), None
            return page

    def leave(self, session_hash: str | None, for_good: bool = False) -> None:
        """The connection to the browser ended, and with it the answer: the tab may still come back soon.

        `for_good`: the tab itself said that it is closed.
        """
        with self._lock:
            page = self._pages.get(str(session_hash))
            if page is not None and page.left != -math.inf:
                page.left = -math.inf if for_good else self._now()
        if page is None:
            return
        page.stop()
        if for_good:
            if page.answering.acquire(timeout=STOP_SECONDS):  # its answer has ended
                page.answering.release()
            self.sweep()

    def sweep(self) -> None:
        """Close the pages that nobody comes back to: free their caches and their frames. upkeep.py calls it."""
        with self._lock:
            over = {key: page for key, page in self._pages.items() if page.is_over(self._now())}
            for key, page in over.items():
                del self._pages[key]
                if page.view is not None or page.transcript:
                    self._closed[hash(key)] = None
            for key_hash in list(self._closed)[:-MAX_CLOSED]:
                del self._closed[key_hash]
        for page in over.values():
            page.close()

    def was_closed(self, session_hash: str) -> bool:
        """Whether the page of this session was closed here, with something on it."""
        with self._lock:
            return hash(session_hash) in self._closed

    def files_in_use(self) -> set[Path]:
        """Videos and pictures that an open page looks at, or can come back to."""
        with self._lock:
            return {path for page in self._pages.values() for path in page.files}

    def find_sheets(self, token: str) -> Sheets | None:
        """The sheets that a page was told to fetch with `token`."""
        found = self._find(token)
        return found[0] if found else None

    def find_video(self, token: str) -> tuple[Sheets, VideoSource] | None:
        """These sheets, once they are finished, and the video whose frames they show."""
        sheets, source = self._find(token) or (None, None)
        return (sheets, source) if sheets and sheets.is_finished and isinstance(source, VideoSource) else None

    def _find(self, token: str) -> tuple[Sheets, Source | None] | None:
        with self._lock:
            shown = [(page.sheets, page.source) for page in self._pages.values()]
        return next(((sheets, source) for sheets, source in shown if sheets and sheets.token == token), None)

    def find_preview(self, token: str) -> Preview | None:
        """The preview that a page was told to fetch with `token`."""
        with self._lock:
            kept = [page.preview for page in self._pages.values()]
        return next((preview for preview in kept if preview is not None and preview.token == token), None)

    def __len__(self) -> int:
        return len(self._pages)
