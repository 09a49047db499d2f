"""A request's messages → a question, the turns before it, and the file that they are about."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from longva_demo.chat import Engine
from longva_demo.chat.json_schema import check_schema
from longva_demo.errors import DemoError, replace_surrogates, short
from longva_demo.page.selection import Selection
from longva_demo.server.conversations import Question
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.files import ReceivedFiles
from longva_demo.server.openai.schema import FilePart, Message, Request
from longva_demo.server.openai.spool import Incoming
from longva_demo.settings import Settings
from longva_demo.video import is_picture

Using = Callable[[Path], AbstractContextManager[None]]
IGNORED_ROLES = ("system", "developer")  # the model was trained with one system text
ALIAS = "longva"  # every server has this model
MAX_PICTURES = 16


def check_model(name: str | None, own: str) -> None:
    """Raises ApiError if the request names another model than this server's."""
    if name not in (None, "", ALIAS, own):
        message = f"the model {short(name)} does not exist here; use {own!r}, or {ALIAS!r}"
        raise ApiError(message, "model", "model_not_found", status=404)


def check_format(schema: str, engine: Engine) -> None:
    """Raises ApiError if answers cannot follow this JSON schema."""
    try:
        if schema:
            check_schema(schema, engine.model.is_here)
    except DemoError as error:
        raise ApiError(str(error), "response_format", "unsupported_value") from None


def read_turns(
    messages: Sequence[tuple[str, Message]], arrived: dict[str, Incoming]
) -> tuple[tuple[tuple[str, str], ...], str, list[tuple[str, str]]]:
    """Earlier questions and answers, the question, and the files' data, each after its place.

    Raises:
        ApiError: the messages do not alternate between user and assistant, or do not end with the user's.
    """
    texts: list[str] = []
    files: list[tuple[str, str]] = []
    place = "messages"
    for place, message in messages:
        if message.role in IGNORED_ROLES:
            continue
        wanted = ("user", "assistant")[len(texts) % 2]
        if message.role not in ("user", "assistant"):
            raise ApiError(f"the role {short(message.role)} is not supported; use user and assistant", f"{place}.role")
        if message.role != wanted:
            raise ApiError(f"the message is not the {wanted}'s; user and assistant must take turns", f"{place}.role")
        text = []
        for number, part in enumerate(message.content):
            where = f"{place}.content[{number}]"
            if isinstance(part, FilePart):
                files.append((where, part.data))
            elif part.text in arrived:
                raise ApiError("the text is a file in base64; send it in a part of type image_url or video_url", where)
            else:
                text.append(replace_surrogates(part.text))
        texts.append("\n".join(text))
    if len(texts) % 2 == 0:
        raise ApiError("the last message is not the user's; end with a question", place.partition("[")[0])
    return tuple(zip(texts[:-1:2], texts[1::2], strict=True)), texts[-1], files


class Reader:
    """Reads requests. Their files are stored, and count as in use until `in_use` ends."""

    def __init__(self, engine: Engine, settings: Settings, received: ReceivedFiles, using: Using) -> None:
        self._engine = engine
        self._settings = settings
        self._received = received
        self._using = using

    def read(self, request: Request, arrived: dict[str, Incoming], in_use: ExitStack) -> Question:
        """The question. Checks everything that does not need the file to be opened.

        Raises:
            ApiError: a value is not valid, a role or a URL is refused, or there are too many files.
            DemoError: there is no space for the file.
        """
        check_model(request.model, self._engine.model.id)
        turns, text, files = read_turns(request.placed_messages, arrived)
        if len(files) > MAX_PICTURES:
            message = f"the conversation has {len(files)} files; send one video, or up to {MAX_PICTURES} pictures"
            raise ApiError(message, files[MAX_PICTURES][0], "too_many_files")
        sampling = request.sampling(self._settings.max_new_tokens)
        check_format(sampling.json_schema, self._engine)
        budget = self._budget(request.budget)
        question = Question(text, turns=turns, sampling=sampling, with_attribution=request.longva.attribution)
        if not files:
            return question
        stored = [self._store(place, data, arrived, in_use) for place, data in files]
        for place, path in zip((place for place, _ in files), stored, strict=True):
            if len(stored) > 1 and not is_picture(path):
                message = "one of several files is a video; send one video, or pictures alone"
                raise ApiError(message, place, "too_many_files")
        first, *others = (self._selection(str(path), budget, request) for path in stored)
        more = tuple(other for other in others if other is not None)
        hashes = ",".join(path.parent.name for path in stored)
        return replace(question, selection=first, sha256=hashes, more_pictures=more)

    def _store(self, place: str, data: str, arrived: dict[str, Incoming], in_use: ExitStack) -> Path:
        """Keep a file; returns its path."""
        try:
            incoming = self._received.find(data, arrived, place)
            path = self._received.path_of(incoming.sha256)
            in_use.enter_context(self._using(path))
            return self._received.adopt(incoming)
        except OSError as error:
            raise DemoError(f"the server cannot store the file ({error.strerror})", "try again later") from None

    def _budget(self, wanted: int | None) -> int:
        """The number of frames to sample at most."""
        if wanted is None:
            return self._engine.default_frames
        if not 1 <= wanted <= self._settings.max_frames:
            allowed = f"use 1 to {self._settings.max_frames:,}"
            raise ApiError(f"num_frames is {wanted}; {allowed}", "num_frames", "integer_out_of_range")
        return wanted

    def _selection(self, path: str, budget: int, request: Request) -> Selection | None:
        start, end = ("" if time is None else str(time) for time in (request.start, request.end))
        try:
            return Selection.from_fields(path, budget, start, end, self._settings.decoder, self._settings)
        except DemoError as error:
            raise ApiError(str(error), "end" if end and not start else "start") from None
