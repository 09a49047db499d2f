"""The open pages, one per session of Gradio."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from longva_demo.chat import ChatSession, Engine, Source, VideoSource
from longva_demo.errors import DemoError
from longva_demo.model import LongVAProcessor
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.components.preview import Preview
from longva_demo.page.state import STOP_SECONDS, Page
from longva_demo.quotas import CLIENT, Quotas

# A page that was not used for this long is closed, even if its browser never disconnected.
IDLE_SECONDS = 3 * 3600.0
# A disconnected browser may come back: a laptop slept, or the network changed.
AWAY_SECONDS = 300.0
# How many closed pages are remembered, so that a tab that is still open is not taken for a new visitor.
MAX_CLOSED = 10_000
# Gradio's names of sessions are shorter, but clients choose them.
MAX_NAME_CHARACTERS = 64


def is_abandoned(page: Page, now: float) -> bool:
    is_away = page.disconnected_at is not None and now - page.disconnected_at > AWAY_SECONDS
    return (is_away or now - page.last_used > IDLE_SECONDS) and not page.session_lock.locked()


class Pages:
    """The open pages, by Gradio's session hash.

    A browser that shows a page holds a connection open, its heartbeat. `connect` and `disconnect` say so.
    """

    def __init__(self, engine: Engine, now: Callable[[], float] = time.monotonic, quotas: Quotas | None = None) -> None:
        self._engine = engine
        self._quotas = quotas or Quotas(engine.settings)
        self._now = now
        self._pages: dict[str, Page] = {}
        self._connected: Counter[str] = Counter()  # heartbeats, which can begin before there is a page
        self._closed: dict[int, None] = {}  # hashes of the session names, oldest first: clients choose the names
        self._lock = threading.Lock()

    @property
    def processor(self) -> LongVAProcessor:
        """Of the model that answers."""
        return self._engine.processor

    def get(self, session_hash: str | None) -> Page:
        """The page of this session, which is used now. A new session gets a new page.

        Raises:
            DemoError: the session has no name, or one that no browser chooses, or there are too many pages.
        """
        if not session_hash or len(session_hash) > MAX_NAME_CHARACTERS:
            raise DemoError("the request names no open page", "open the page in a browser, or use the API")
        with self._lock:
            page = self._pages.get(session_hash)
            if page is None:
                client = CLIENT.get()
                self._quotas.pages.take(client)
                page = self._pages[session_hash] = Page(ChatSession(self._engine), client, self._quotas)
            page.last_used = self._now()
            page.disconnected_at = None if self._connected[session_hash] else page.last_used
            return page

    def connect(self, session_hash: str) -> None:
        """A heartbeat begins, which ends with `disconnect`."""
        with self._lock:
            self._connected[session_hash] += 1
            page = self._pages.get(session_hash)
            if page is not None and page.disconnected_at != -math.inf:
                page.disconnected_at = None

    def disconnect(self, session_hash: str, is_closed: bool = False) -> None:
        """A heartbeat ended, which stops the answer. The tab may soon reconnect.

        is_closed: the tab has said that it was closed. Its heartbeat ends later.
        """
        with self._lock:
            if not is_closed:
                self._connected[session_hash] -= 1
                self._connected = +self._connected
            page = self._pages.get(session_hash)
            if page is not None and page.disconnected_at != -math.inf and not self._connected[session_hash]:
                page.disconnected_at = self._now()
            if page is not None and is_closed:
                page.disconnected_at = -math.inf
        if page is None:
            return
        page.stop()
        if is_closed:
            if page.session_lock.acquire(timeout=STOP_SECONDS):  # the answer has ended
                page.session_lock.release()
            self.close_abandoned()

    def close_abandoned(self) -> None:
        """Close the pages to which nobody comes back, and free their caches and frames. housekeeping.py calls it."""
        with self._lock:
            abandoned = {key: page for key, page in self._pages.items() if is_abandoned(page, self._now())}
            for key, page in abandoned.items():
                del self._pages[key]
                if page.view is not None or page.transcript.entries:
                    self._closed[hash(key)] = None
            for key_hash in list(self._closed)[:-MAX_CLOSED]:
                del self._closed[key_hash]
        for page in abandoned.values():
            page.close()
            self._quotas.pages.give_back(page.client)

    def was_closed(self, session_hash: str) -> bool:
        """Whether the server closed the page of this session while it showed something."""
        with self._lock:
            return hash(session_hash) in self._closed

    def files_in_use(self) -> set[Path]:
        """The videos and pictures of all open pages, those of their recent views included."""
        with self._lock:
            return {path for page in self._pages.values() for path in page.files}

    def find_sheets(self, token: str) -> Sheets | None:
        """The sheets with this token."""
        found = self._find(token)
        return found[0] if found else None

    def find_video(self, token: str) -> tuple[Sheets, VideoSource] | None:
        """The sheets with this token, once they are finished, and their video."""
        sheets, source = self._find(token) or (None, None)
        return (sheets, source) if sheets and sheets.is_finished and isinstance(source, VideoSource) else None

    def _find(self, token: str) -> tuple[Sheets, Source | None] | None:
        with self._lock:
            shown = [(page.sheets, page.source) for page in self._pages.values()]
        return next(((sheets, source) for sheets, source in shown if sheets and sheets.token == token), None)

    def find_preview(self, token: str) -> Preview | None:
        """The preview with this token."""
        with self._lock:
            previews = [page.preview for page in self._pages.values()]
        return next((preview for preview in previews if preview is not None and preview.token == token), None)

    def __len__(self) -> int:
        return len(self._pages)
