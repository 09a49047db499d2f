"""`longva-demo mcp`: the tools over standard input and output, for one person's own agent."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from mcp.server.mcpserver import Context

from longva_demo.chat import AdmissionQueue
from longva_demo.chat.answering import make_answerer
from longva_demo.chat.open_engine import open_engine
from longva_demo.errors import DemoError, short
from longva_demo.quotas import Quotas
from longva_demo.server.conversations import Conversations
from longva_demo.server.mcp.tools import Tools
from longva_demo.server.rate_limit import RateLimit
from longva_demo.server.searches import Searches
from longva_demo.settings import Settings
from longva_demo.telemetry import EventLog, Metrics

VIDEOS = "Name a video by its path on this machine."


def serve_stdio(settings: Settings) -> None:
    """Answer until standard input ends. The model is loaded meanwhile, so that the agent need not wait for it."""
    loaded: Future[Conversations] = Future()

    def load() -> None:
        try:
            loaded.set_result(make_conversations(settings))
        except Exception as error:
            loaded.set_exception(error)

    threading.Thread(target=load, name="model", daemon=True).start()
    Tools(settings, loaded.result, local_video, VIDEOS).server.run()


def make_conversations(settings: Settings) -> Conversations:
    engine, quotas = open_engine(settings), Quotas(settings)
    queue = AdmissionQueue(engine.prefill_times, lambda: engine.max_prefills)
    events = EventLog(settings, Metrics(lambda: 0, lambda: len(queue), engine.figures, quotas))
    answerer = make_answerer(engine, queue)
    searches = Searches(engine, queue, RateLimit(settings.max_questions_per_minute, "questions"), events)
    return Conversations(engine, settings, answerer, searches.find, events, quotas)


@contextmanager
def local_video(video: str, _: Context) -> Iterator[tuple[Path, str]]:
    """A file of this machine, and its path with its date and size.

    Raises:
        DemoError: there is no such file.
    """
    path = Path(video.removeprefix("file://")).expanduser()
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise DemoError(f"{short(video)} cannot be opened ({reason})", "use the path of a video or picture") from None
    yield path, f"{path.resolve()} {facts.st_mtime_ns} {facts.st_size}"
