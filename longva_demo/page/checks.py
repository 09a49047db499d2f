"""Two checks of an answer: the same question without the video, and with other frame budgets, without its lines, and
window by window.

Each runs in short-lived chats of its own on the same engine, where it takes turns at the model like any other chat.
The visitor's chat stays as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

import gradio as gr

from longva_demo.chat import ChatSession, Engine, Turn, VideoSource
from longva_demo.chat.answering import Answerer
from longva_demo.chat.compare import Budgets, Row, choose_budgets, compare
from longva_demo.chat.window_by_window import WindowsRow, ask_windows
from longva_demo.errors import DemoError
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import streaming
from longva_demo.page.handlers import SHOW_STOP_BUTTON, Updates
from longva_demo.page.i18n import Message, message
from longva_demo.page.progress import follow
from longva_demo.page.sessions import Pages
from longva_demo.page.state import Page
from longva_demo.page.transcript import WAITING, BlindCheck, ComparedBudget, Comparison, Draft, Panel

Show = Callable[[Panel], None]
# Runs a check on a turn and shows its panel; yields when the browser should be updated.
Check = Callable[[Page, Turn, Show], Iterator[None]]


class Checks:
    """Handlers of the buttons below an answer. Outputs: transcript, question field."""

    def __init__(self, engine: Engine, pages: Pages, answerer: Answerer) -> None:
        self.engine = engine
        self.pages = pages
        self.answerer = answerer

    def bind(self, transcript: gr.HTML, question: gr.Textbox, asked_at: gr.Number) -> None:
        common: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "js": NOW}
        transcript.blind(self.blind, asked_at, [transcript, question], **common)
        transcript.compare(self.compare, asked_at, [transcript, question], **common)

    @streaming
    def blind(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Ask only the question: without the video, and without earlier turns, which may say what was seen."""
        yield from self._check(BlindCheck(draft=WAITING), self._ask_blind, asked_at, event, request)

    @streaming
    def compare(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Ask only the question: at several budgets, without its lines, window by window. Rows appear one by one."""
        yield from self._check(Comparison(draft=WAITING), self._ask_each, asked_at, event, request)

    def _check(self, panel: Panel, check: Check, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Show what `check` finds below the answer that was clicked. A check without a result shows nothing."""
        page = self.pages.get(request.session_hash)
        with page.exclusive():
            page.stop_requested.clear()
            page.answer_asked_at = asked_at
            position: int = event.number
            turn = page.turn_at(position)

            def show(newer: Panel) -> None:
                nonlocal panel
                panel = newer
                page.transcript.replace(position, page.transcript.turn(position).with_panel(panel))

            failure: Exception | None = None
            show(panel)
            try:
                yield page.transcript_value(), SHOW_STOP_BUTTON
                for _ in check(page, turn, show):
                    yield page.transcript_value(), SHOW_STOP_BUTTON
            except Exception as error:
                failure = error
            finally:
                show(replace(panel, draft=None))
        yield page.transcript_value(), gr.update(stop_btn=page.is_answering)
        if failure is not None:
            raise failure

    def _ask_blind(self, page: Page, turn: Turn, show: Show) -> Iterator[None]:
        answer = ""

        def update(draft: Draft) -> None:
            nonlocal answer
            answer = draft.answer
            show(BlindCheck(answer, draft=draft))

        with closing(ChatSession(self.engine)) as session:
            events = self.answerer(session, turn.question, turn.sampling, False, page.stop_requested)
            with closing(events):
                yield from follow(events, update)
        if not page.stop_requested.is_set():
            is_same = words(turn.answer) == words(answer)
            show(BlindCheck(answer, message("blind.same" if is_same else "blind.different")))
        elif answer:
            show(BlindCheck(answer, message("blind.stopped")))

    def _ask_each(self, page: Page, turn: Turn, show: Show) -> Iterator[None]:
        if not isinstance(page.source, VideoSource):
            raise DemoError("there is no video to sample more or fewer frames from", "choose a video, and ask about it")
        rows: list[ComparedBudget] = []
        budgets = choose_budgets(self.engine, page.source, min_count=1 if turn.lines else 2)
        note = missing_note(budgets)
        events: Any = compare(
            self.engine,
            page.source,
            budgets.compared,
            turn.question,
            turn.sampling,
            self.answerer,
            page.stop_requested,
            turn.lines,
        )
        windows: Any = ask_windows(
            self.engine, page.source, turn.question, turn.sampling, self.answerer, page.stop_requested, turn.lines
        )

        def update(draft: Draft) -> None:
            show(Comparison(tuple(rows), budgets.present, note, draft))

        frame_bytes = page.source.planned_bytes // page.source.plan.num_frames
        # On ZeroGPU, the chats of all budgets may have their frames on the disk at once.
        disk = page.quotas.disk_bytes.hold(page.client, frame_bytes * sum(budgets.compared))
        with closing(events), closing(windows), disk:
            yield from follow(collect_rows(chain(events, windows), rows, bool(turn.lines)), update)


def missing_note(budgets: Budgets) -> Message | None:
    """Why larger budgets are not compared."""
    if not budgets.missing:
        return None
    key = "compare.missing_frames" if budgets.is_limited_by_range else "compare.missing_memory"
    return message(key, budget=budgets.missing[0], count=budgets.limit)


def collect_rows(events: Iterator[object], rows: list[ComparedBudget], has_lines: bool) -> Iterator[object]:
    """Pass `events` on, and add each Row among them to `rows`. `has_lines`: the answer above was given some."""
    for event in events:
        if isinstance(event, Row):
            num_windows = event.num_windows if isinstance(event, WindowsRow) else 1
            facts = (event.num_frames, event.answer, event.seconds, event.num_tokens, num_windows)
            rows.append(ComparedBudget(*facts, without_lines=has_lines and num_windows == 1 and not event.num_lines))
        yield event


def words(text: str) -> list[str]:
    """What counts when two answers are compared: neither capitals nor punctuation.

    >>> words("It is red.") == words("it is red")
    True
    """
    return "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
