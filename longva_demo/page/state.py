"""The state of one open page: its chat session, its selection and its transcript. Pages share none of it."""

import math
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from longva_demo.chat import ChatSession, Engine, Source, Turn
from longva_demo.chat.record import ChatRecord
from longva_demo.chat.replay import resume
from longva_demo.errors import DemoError, VideoError
from longva_demo.moments import Moments as FoundMoments
from longva_demo.moments import Outline
from longva_demo.page.attribution import answer_attribution, is_refusal
from longva_demo.page.chat_record import check_selected, record_session
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.components.preview import Preview
from longva_demo.page.export import ChatSection, make_thumbnails
from longva_demo.page.facts import stats_messages
from longva_demo.page.i18n import message
from longva_demo.page.markdown import Moments
from longva_demo.page.selection import WHOLE, RecentViews, SampledView, Selection, trail_to
from longva_demo.page.task import PageTask
from longva_demo.page.transcript import CHECKS, Entry, Transcript, TurnEntry, Value
from longva_demo.page.words_state import WordsState
from longva_demo.quotas import Holding, QuotaError, Quotas
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits, VideoInfo, probe

# How long another selection, or the end of a page, waits for the running answer to stop.
STOP_SECONDS = 60.0


class Selected(NamedTuple):
    """The sampled view, and when the browser asked for it, in ms on its own clock."""

    view: SampledView | None
    asked_at: float


class PausedChat(NamedTuple):
    """The chat about `selection`, from when that was emptied: it goes on if the same is selected next."""

    selection: Selection
    turns: list[Turn]
    section: ChatSection
    before: tuple[Entry, ...]  # the transcript before, and after
    after: tuple[Entry, ...]


@dataclass
class Page:
    """One open page.

    The locks, in the order in which they are taken: `selection_lock` guards the selection and the preview. An answer
    holds `session_lock`, which guards the session and its transcript. `chats_lock` guards the step in which the current
    chat becomes an earlier one. Every `…_asked_at` is in ms on the browser's clock.
    """

    session: ChatSession
    client: str
    quotas: Quotas
    selected: Selected = field(default=Selected(None, 0.0))
    recent_views: RecentViews = field(default_factory=RecentViews)
    transcript: Transcript = field(default_factory=Transcript)
    problem: str | None = None  # what is wrong with the file that was chosen last
    earlier_chats: list[ChatSection] = field(default_factory=list)  # about earlier selections
    paused_chat: PausedChat | None = None
    selection_lock: threading.Lock = field(default_factory=threading.Lock)
    session_lock: threading.Lock = field(default_factory=threading.Lock)
    chats_lock: threading.Lock = field(default_factory=threading.Lock)
    stop_requested: threading.Event = field(default_factory=threading.Event)
    is_attributing: bool = False  # `session_lock` is held only to attribute the last answer
    preview: Preview | None = None
    selection_asked_at: float = 0.0  # of the newest selection
    chat_asked_at: float = 0.0  # of the newest question, or of the newest undo or clear
    answer_asked_at: float = 0.0  # of the answer that is being written
    needle_test_task: PageTask = field(default_factory=PageTask)
    outline_task: PageTask = field(default_factory=PageTask)
    outline: Outline | None = None  # the newest chapters
    search_task: PageTask = field(default_factory=PageTask)
    moments: tuple[str, FoundMoments] | None = None  # what the newest search looked for and found
    returned: Value | None = None  # the last question without an answer, for the question field
    token: str = field(default_factory=lambda: secrets.token_hex(8))  # identifies this page in the browser's storage
    last_used: float = 0.0
    disconnected_at: float | None = None

    def __post_init__(self) -> None:
        self.chats_held = Holding(self.quotas.page_bytes, self.client)  # by the earlier chats
        self.preview_held = Holding(self.quotas.disk_bytes, self.client)
        self.words = WordsState(self.client, self.quotas, True if self.session.reads_lines else None)

    @property
    def view(self) -> SampledView | None:
        return self.selected.view

    @property
    def source(self) -> Source | None:
        return self.session.source

    @property
    def selection(self) -> Selection | None:
        return self.view.selection if self.view else None

    @property
    def file(self) -> str:
        """The path of the selected file, "" without one."""
        return str(self.selection.path) if self.selection else ""

    @property
    def sheets(self) -> Sheets | None:
        return self.view.sheets if self.view else None

    @property
    def files(self) -> set[Path]:
        """The files of the selection and of the recent views."""
        selected = [self.selection.path] if self.selection else []
        return {*selected, *self.recent_views.files}

    def select(
        self, selection: Selection | None, engine: Engine, settings: Settings, asked_at: float = math.inf
    ) -> Sheets | None:
        """Switch to `selection`, stopping an answer about another one. Returns the sheets for its frames.

        A selection that fails changes nothing. `problem` is then what is wrong with its file, if that is the cause; a
        question about that file fails as well. A selection older than the newest one is ignored; `selected` says which
        one the view belongs to.
        """
        with self.selection_lock:
            if asked_at < self.selection_asked_at:
                return self.sheets
            if asked_at < math.inf:
                self.selection_asked_at = asked_at
            if self.preview is not None and (selection is None or selection.path != self.preview.path):
                self._drop_preview()
            self.problem = None
            try:
                if selection != self.selection:
                    self._switch_to(self._find_or_open(selection, engine, settings) if selection else None)
            except VideoError as error:
                if selection is not None and selection.is_whole and not self._shows(selection.path):
                    self.problem = str(error)
                raise
            finally:
                self.selected = Selected(self.view, self.selection_asked_at)
            return self.sheets

    def _shows(self, path: Path) -> bool:
        return self.selection is not None and self.selection.path == path

    def deselect(self, sheets: Sheets, problem: str) -> None:
        """Select nothing, since the frames for `sheets` cannot be read. A newer selection stays."""
        with self.selection_lock:
            if self.sheets is sheets:
                self._switch_to(None)
                self.problem = problem

    def _find_or_open(self, selection: Selection, engine: Engine, settings: Settings) -> SampledView:
        """A recent view of `selection`, or a new one, with the trail to its range."""
        trail = self.view.trail if self.view and self._shows(selection.path) else (WHOLE,)
        view = self.recent_views.find(selection)
        if view is None:
            source = selection.open_source(engine, settings, self.source)
            try:
                held = self._hold(source)
            except QuotaError:
                self.recent_views.close()
                held = self._hold(source)
            view = SampledView(selection, source, Sheets(source.num_frames, held[0]), held=held)
        return replace(view, trail=trail_to(selection.range_in(view.source.duration_seconds), trail))

    def _hold(self, source: Source) -> tuple[Holding, Holding]:
        """What a view of `source` holds, in memory and on the disk.

        Raises:
            QuotaError: a quota is used up.
        """
        return (
            Holding(self.quotas.page_bytes, self.client, source.memory_bytes),
            Holding(self.quotas.disk_bytes, self.client, source.planned_bytes),
        )

    def _switch_to(self, view: SampledView | None) -> None:
        self.stop()
        with self.exclusive(STOP_SECONDS):
            chat, turns, entries = self.chat_section(), self.session.turns, self.transcript.entries
            with self.chats_lock:
                if chat is not None:
                    self.chats_held.add(chat.num_bytes)
                self.session.set_source(view.source if view else None)
                if chat is not None and not self.session.turns:
                    self.earlier_chats.append(chat)
                elif chat is not None:
                    self.chats_held.remove(chat.num_bytes)
                old, self.selected = self.view, Selected(view, self.selected.asked_at)
            if view is not None:
                self.recent_views.remove(view.selection)
            if old is not None:
                self.recent_views.add(old)
            if not self.session.turns:
                self.transcript.start_new_chat()
            paused, self.paused_chat = self.paused_chat, None
            if view is None and old is not None and chat is not None:
                self.paused_chat = PausedChat(old.selection, turns, chat, entries, self.transcript.entries)
            elif view is not None and paused is not None and paused.selection == view.selection:
                self._continue(paused)

    def _continue(self, paused: PausedChat) -> None:
        """Continue a chat about the present source, unless something was asked or cleared since."""
        with self.chats_lock:
            if self.transcript.entries != paused.after or self.session.turns:
                return
            self.session.resume(self.session.source, paused.turns)
            self.transcript.entries = paused.before
            self.earlier_chats.remove(paused.section)
            self.chats_held.remove(paused.section.num_bytes)

    def start_preview(self, path: Path) -> Preview:
        """The preview of this file: the present one if it is ready, else a new one that is still to be made."""
        with self.selection_lock:
            if self.preview is None or self.preview.path != path or not self.preview.is_ready:
                self._drop_preview()
                self.preview_held = Holding(self.quotas.disk_bytes, self.client, path.stat().st_size)
                self.preview = Preview(path)
            return self.preview

    def start_video_preview(self, path: Path, limits: DecodeLimits) -> tuple[Preview, VideoInfo]:
        """`start_preview`, and the video's info.

        Raises:
            VideoError: the file cannot be used.
        """
        with self.selection_lock:  # if the same file is being selected, its probe is reused
            info = Selection(path, 1).known_info(self.source) or probe(path, limits)
        return self.start_preview(path), info

    def _drop_preview(self) -> None:
        if self.preview is not None:
            self.preview.close()
        self.preview = None
        self.preview_held = Holding(self.quotas.disk_bytes, self.client)

    @property
    def is_answering(self) -> bool:
        return self.session_lock.locked() and not self.is_attributing

    def is_outdated(self, asked_at: float) -> bool:
        """Whether a newer act in the chat has overtaken the one asked for at `asked_at`. Remembers the newest."""
        outdated = asked_at < self.chat_asked_at
        self.chat_asked_at = max(self.chat_asked_at, asked_at)
        return outdated

    def return_question(self, question: str) -> None:
        """Let the page put a question without an answer back into its field."""
        self.returned = {"at": time.monotonic(), "question": question}

    def stop(self) -> None:
        """End the running answer, including one that another session writes for this page."""
        self.stop_requested.set()
        self.session.stop()

    @contextmanager
    def exclusive(self, timeout: float = 0.0) -> Iterator[None]:
        """Hold the session lock.

        Raises:
            DemoError: an answer is being written, and has not ended after `timeout` seconds.
        """
        if self.is_attributing:
            self.session.stop()
            timeout = max(timeout, STOP_SECONDS)
        if not self.session_lock.acquire(timeout=timeout) if timeout else not self.session_lock.acquire(blocking=False):
            raise DemoError("an answer is still being written", "wait until it ends, or press Stop")
        try:
            yield
        finally:
            self.session_lock.release()

    def finish_turn(self, turn: Turn | None, replaced: TurnEntry | None) -> None:
        """Replace the unfinished entry by `turn`. Without one, restore the entry that it was to replace, if any."""
        self.transcript.pop()
        if turn is not None:
            if self.source is not None and self.source.kind == "video" and not turn.stats.reused:
                self.session.engine.prefill_times.add(self.source.num_frames, turn.stats.seconds_to_first_token)
            stats = tuple(stats_messages(turn.stats, turn.answer, self.source is not None))
            entry = TurnEntry(
                turn.question,
                turn.answer,
                stats,
                answer_attribution(turn, self.source),
                self.file,
                Moments.of(self.source),
                is_refusal(turn),
                turn.lines,
            )
            self.transcript.append(entry)
        elif replaced is not None:
            self.transcript.append(replaced)

    def attribute_last_answer(self) -> bool:
        """Attribute the last answer to its frames. Returns False if nothing was found. A new question ends it."""
        if not self.session_lock.acquire(blocking=False):
            return False
        try:
            self.is_attributing = True
            positions = self.turn_positions()
            if not positions or self.transcript.turn(positions[-1]).attribution is None:
                return False
            turn = self.session.attribute_last_answer()
            if turn is not None:
                attribution = answer_attribution(turn, self.source)
                entry = replace(self.transcript.turn(positions[-1]), attribution=attribution)
                self.transcript.replace(positions[-1], entry)
            return turn is not None
        finally:
            self.is_attributing = False
            self.session_lock.release()

    def clear(self) -> None:
        """Forget the conversation, and all earlier ones. The caller holds the session lock."""
        self.session.clear()
        self.transcript.clear()
        self.chats_held.remove(sum(chat.num_bytes for chat in self.earlier_chats))
        self.earlier_chats.clear()

    def turn_positions(self) -> list[int]:
        """Where the transcript shows the session's turns."""
        return self.transcript.remembered(len(self.session.turns))

    def turn_at(self, position: int) -> Turn:
        """The session's turn at this position of the transcript.

        Raises:
            DemoError: the session does not remember it.
        """
        turns = dict(zip(self.turn_positions(), self.session.turns, strict=True))
        if position not in turns:
            raise DemoError("this answer is about frames that are no longer selected", "ask again")
        return turns[position]

    def resume(self, record: ChatRecord) -> None:
        """Continue an earlier chat, which must be about the selected file and frames.

        Raises:
            DemoError: other frames or another file are selected, or this chat has begun already.
        """
        if self.session.turns:
            raise DemoError("this chat has begun already", "clear it, then go on with the earlier one")
        check_selected(record, self.source, self.selection)
        resume(self.session, record)
        for turn in self.session.turns:
            stats = (message("stats.resumed"),)
            moments = Moments.of(self.source)
            self.transcript.append(
                TurnEntry(turn.question, turn.answer, stats, file=self.file, moments=moments, lines=turn.lines)
            )

    def record(self) -> ChatRecord | None:
        """The turns that the session remembers; None without any, or while their frames are sampled again."""
        return record_session(self.session, self.view)

    def chat_section(self) -> ChatSection | None:
        """The same as a section of a saved page."""
        record = self.record()
        if record is None:
            return None
        entries = tuple(self.transcript.turn(position) for position in self.turn_positions())
        used_frames = [frame for turn in record.turns for frame in turn.attribution]
        return ChatSection(record, make_thumbnails(self.source, used_frames), entries)

    def transcript_value(self) -> Value:
        """The transcript for the page, and a question for its field.

        Two handlers may send theirs out of order: the page shows the one with the later `at`.
        """
        checks = CHECKS[self.source.kind] if self.source is not None else []
        at = time.monotonic()
        return {
            "at": at,
            "entries": self.transcript.to_page(len(self.session.turns), checks, self.file),
            "returned": self.returned,
        }

    def close(self) -> None:
        self.selected = Selected(None, self.selection_asked_at)
        self._drop_preview()
        self.needle_test_task.stop()
        self.search_task.stop()
        self.outline_task.stop()
        self.stop()
        self.session.close()
        self.recent_views.close()
        self.words.close()
