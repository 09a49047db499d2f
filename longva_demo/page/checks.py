"""Two looks behind an answer: the same question without the video, and with other budgets. The chat stays untouched.

Both run in short-lived chats of their own on the same engine, where they take turns at the model like any other.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from longva_demo.chat import ChatSession, Engine, Turn, VideoSource
from longva_demo.chat.answering import Answerer
from longva_demo.chat.compare import Row, compare
from longva_demo.errors import DemoError
from longva_demo.page.components.component import NOW
from longva_demo.page.errors import streaming
from longva_demo.page.handlers import ANSWERING, Updates, follow
from longva_demo.page.i18n import message
from longva_demo.page.sessions import Page, Pages

# Runs a check on a turn, writing what it finds into the panel; yields when the page should be brought up to date.
Check = Callable[[Page, Turn, dict[str, Any]], Iterator[None]]


class Checks:
    """Handlers of the buttons under an answer. Outputs: transcript, question field."""

    def __init__(self, engine: Engine, pages: Pages, answerer: Answerer) -> None:
        self.engine = engine
        self.pages = pages
        self.answerer = answerer

    def bind(self, transcript: gr.HTML, question: gr.Textbox, asked_at: gr.Number) -> None:
        """Let the buttons call their handlers."""
        common: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "js": NOW}
        transcript.blind(self.blind, asked_at, [transcript, question], **common)
        transcript.compare(self.compare, asked_at, [transcript, question], **common)

    @streaming
    def blind(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Ask the same question alone: no video, no earlier turns, which may tell what was seen."""
        yield from self._check("blind", self._ask_blind, asked_at, event, request)

    @streaming
    def compare(self, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Ask the same question alone, with several budgets; rows appear as they are done."""
        yield from self._check("compare", self._ask_each, asked_at, event, request)

    def _check(self, name: str, check: Check, asked_at: float, event: gr.EventData, request: gr.Request) -> Updates:
        """Show what `check` finds under the answer that was clicked; where it finds nothing, nothing is shown."""
        page = self.pages.get(request.session_hash)
        with page.alone():
            page.stopping.clear()
            page.answering_at = asked_at
            entry, turn = page.turn_at(event.number)
            panel = entry[name] = {"status": message("progress.waiting")}
            failure: Exception | None = None
            try:
                yield page.shown(), ANSWERING
                for _ in check(page, turn, panel):
                    yield page.shown(), ANSWERING
            except Exception as error:
                failure = error
            finally:
                settle(entry, name)
        yield page.shown(), gr.update(stop_btn=page.is_answering)
        if failure is not None:
            raise failure

    def _ask_blind(self, page: Page, turn: Turn, panel: dict[str, Any]) -> Iterator[None]:
        panel["answer"] = ""
        with closing(ChatSession(self.engine)) as session:
            events: Any = self.answerer(session, turn.question, turn.sampling, False, page.stopping)
            with closing(events):
                yield from follow(events, panel)
        if not page.stopping.is_set():
            panel["verdict"] = message(
                "blind.same" if words(turn.answer) == words(panel["answer"]) else "blind.different"
            )
        elif panel["answer"]:
            panel["verdict"] = message("blind.stopped")

    def _ask_each(self, page: Page, turn: Turn, panel: dict[str, Any]) -> Iterator[None]:
        if not isinstance(page.source, VideoSource):
            raise DemoError("there is no video to take more or fewer frames of", "choose a video, and ask about it")
        panel["rows"] = []
        rows: Any = compare(self.engine, page.source, turn.question, turn.sampling, self.answerer, page.stopping)
        with closing(rows):
            yield from follow(take_rows(rows, panel["rows"]), panel)


def take_rows(events: Iterator[Any], rows: list[dict[str, Any]]) -> Iterator[Any]:
    """Pass `events` on; each Row among them becomes a row for the page."""
    for event in events:
        if isinstance(event, Row):
            row = {"frames": event.num_frames, "answer": event.answer, "duration": event.seconds}
            rows.append({**row, "tokens": event.num_tokens})
        yield event


def settle(entry: dict[str, Any], name: str) -> None:
    """End a panel: nothing is on its way any more; where nothing was found, it goes."""
    panel = entry.get(name, {})
    panel.pop("status", None)
    panel.pop("progress", None)
    if not any(panel.get(part) for part in ("answer", "verdict", "rows")):
        entry.pop(name, None)


def words(text: str) -> list[str]:
    """What counts when two answers are compared: neither capitals nor punctuation.

    >>> words("It is red.") == words("it is red")
    True
    """
    return "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
