"""A chat's prefix at the engine: which items make it up, and which of them a replica has been sent."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from longva_demo.chat.attribution import MIN_DROP, Attribution
from longva_demo.chat.engine import NewToken
from longva_demo.chat.image_source import ImageSource
from longva_demo.chat.pictures import PicturesSource
from longva_demo.chat.remote.wire import (
    GENERATE,
    ITEM_FRAMES,
    EngineLost,
    Item,
    ItemsMissing,
    Usage,
    frames_data,
    frames_item,
    picture_data,
    picture_item,
    read_events,
    request_body,
)
from longva_demo.chat.sampling import Sampling
from longva_demo.chat.source import Source
from longva_demo.chat.turn import CacheStatus, Progress, Stage
from longva_demo.chat.video_source import VideoSource
from longva_demo.errors import DemoError, ModelError, VideoError

if TYPE_CHECKING:
    from longva_demo.chat.remote.engine import RemoteEngine

log = logging.getLogger(__name__)

# Items of one prefill request: 64 frames, so that there is progress in between, and uploads have at most 30 MB.
STEP_ITEMS = 4
# Tries of a request, and seconds between them: the first, doubled each time, up to the last.
MAX_TRIES, FIRST_WAIT, MAX_WAIT = 8, 0.25, 4.0
BUSY, LOST = "the engine is busy: try %d of %d failed", "a replica was lost: try %d of %d failed"
# How often a replica may forget the items during one answer.
MAX_RESENDS = 3


@dataclass
class Prompt:
    """The start of a conversation: header and items.

    session: names the replica that has it in its prefix cache; the router sends equal names to the same replica.
    salt: keeps it apart from equal prompts; usually empty.
    num_sent: leading items that were sent with their pixels.
    """

    key: object
    session: str
    salt: str = ""
    items: list[Item] = field(default_factory=list)
    num_frame_tokens: int = 0
    num_sent: int = 0


class Retries:
    """Waits between the tries of one request."""

    def __init__(self, should_stop: threading.Event) -> None:
        self._should_stop = should_stop
        self._num_failed = 0
        self._num_resent = 0

    def wait(self, lost: EngineLost) -> None:
        """Wait before the next try, unless the chat is stopped.

        Raises:
            ModelError: that was the last one.
        """
        self._num_failed += 1
        log.warning(BUSY if lost.is_busy else LOST, self._num_failed, MAX_TRIES)
        if self._num_failed >= MAX_TRIES:
            if lost.is_busy:
                raise ModelError("the engine is busy: its queue is full", "try again in a minute") from None
            raise ModelError("the engine does not answer", "try again in a minute") from None
        self._should_stop.wait(min(MAX_WAIT, FIRST_WAIT * 2 ** (self._num_failed - 1)))

    def reset(self) -> None:
        """A token arrived: what fails later is another fault."""
        self._num_failed = 0

    def resend(self, prompt: Prompt) -> None:
        """The replica lacks items: the next requests send all of them.

        Raises:
            ModelError: it has happened too often.
        """
        self._num_resent += 1
        if self._num_resent > MAX_RESENDS:
            raise ModelError("the engine forgets the frames", "give its replicas more --mm-processor-cache-gb")
        log.info("the engine lacks frames of this chat, which are sent again")
        prompt.num_sent = 0


class RemotePrefix:
    """The `ChatPrefix` of a `RemoteEngine`. What is cached is up to the replicas: nothing has to be freed here."""

    evictable_bytes = 0

    def __init__(self, engine: "RemoteEngine", should_stop: threading.Event, is_shared: bool) -> None:
        self.source: Source | None = None
        self.status = CacheStatus.HIT
        self.seconds_decoding = 0.0
        self._engine = engine
        self._should_stop = should_stop
        self._name = secrets.token_hex(16)
        self._is_shared = is_shared
        self._prompt: Prompt | None = None

    @property
    def is_cached(self) -> bool:
        return self._engine.find_prompt(self._key) is not None

    @property
    def num_tokens(self) -> int:
        assert self._prompt is not None, "acquire the prefix first"
        return len(self._engine.template.header) + self._prompt.num_frame_tokens

    def acquire(self) -> Generator[Progress]:
        self.seconds_decoding = 0.0
        self.status = CacheStatus.HIT
        self._prompt = self._engine.find_prompt(self._key)
        if self._prompt is not None:
            yield from self._find_frames()
            return
        self.status = CacheStatus.MISS
        self._prompt = Prompt(self._key, *self._engine.session_of(self._key, self._is_shared))
        if self.source is not None:
            yield from self._prefill_source(self._prompt, self.source)
        if not self._should_stop.is_set():
            self._engine.keep_prompt(self._prompt)

    def release(self) -> None:
        """Other chats need not wait for this one."""

    def truncate(self, num_tokens: int) -> None:
        """Nothing to drop: each prompt is sent whole."""

    @contextmanager
    def drop_on_error(self) -> Iterator[None]:
        """An error leaves nothing behind here."""
        yield

    def close(self) -> None:
        if not self._is_shared:
            self._engine.forget_prompt(self._key)
        if self.source is not None:
            self.source.close()

    def generate(
        self, turn_ids: Sequence[int], question_ids: Sequence[int], sampling: Sampling
    ) -> Generator[Progress | NewToken]:
        """Where a replica is lost, another one continues after the last token."""
        prompt, answer, usage = self._prompt, list[int](), Usage()
        assert prompt is not None, "acquire the prefix first"
        retries = Retries(self._should_stop)
        while not self._should_stop.is_set():
            try:
                params = self._engine.sampling_params(sampling, answer)
                again = len(answer) if sampling.json_schema else 0  # tokens that are chosen a second time
                ids = [*turn_ids, *question_ids, *([] if again else answer)]
                with closing(self._request(prompt, len(prompt.items), ids, params, usage)) as tokens:
                    for token in islice(tokens, again, None):
                        answer.append(token.id)
                        retries.reset()
                        yield token
                break
            except ItemsMissing:
                self.status = CacheStatus.MISS
                retries.resend(prompt)
                yield from self._prefill(prompt, len(prompt.items))
            except EngineLost as lost:
                if answer and (answer[-1] in self._engine.stop_ids or len(answer) == sampling.max_new_tokens):
                    break  # only the end of the stream is missing
                self._retry(retries, lost)
        self._observe(usage, prompt)

    def attention(self, num_tokens: int) -> Attribution | None:
        """No attention leaves the replicas."""
        return Attribution(()) if num_tokens and isinstance(self.source, VideoSource) else None

    def log_prob_drops(
        self,
        turn_ids: Sequence[int],
        question_ids: Sequence[int],
        answer_ids: Sequence[int],
        attribution: Attribution,  # noqa: ARG002
    ) -> tuple[tuple[int, float], ...] | None:
        """The frame with which the answer became as likely as it is with all of them, and by how much."""
        prompt, source = self._prompt, self.source
        assert prompt is not None
        assert isinstance(source, VideoSource)
        asked = [*turn_ids, *question_ids]
        try:
            whole = self._score(prompt, len(prompt.items), asked, answer_ids)
            found = last_rise(lambda number: self._score(prompt, number, asked, answer_ids), len(prompt.items), whole)
            if found is None:
                return ()
            at, item = found[0], prompt.items[found[0]]
            positions = range(item.first, item.first + item.count)
            frames = [frames_item(source.stored_frames(number, 1), number) for number in positions]
            # Its frames as items of their own: each is encoded once, and each prompt continues the one before it.
            closer = replace(prompt, items=[*prompt.items[:at], *frames], num_sent=at)
            found = last_rise(lambda number: self._score(closer, at + number, asked, answer_ids), item.count, whole)
            return ((item.first + found[0], found[1]),) if found is not None else ()
        except (EngineLost, ItemsMissing, DemoError) as error:
            log.info("an answer was not attributed (%s)", str(error) or type(error).__name__)
            return None

    def _score(self, prompt: Prompt, num_items: int, asked: Sequence[int], answer_ids: Sequence[int]) -> float:
        """The log-probability of an answer, in nats, after the first `num_items` items.

        Raises:
            EngineLost: also if the chat was stopped.
        """
        params = {
            "temperature": 0.0,
            "max_tokens": len(answer_ids),
            "logprobs": 0,
            "detokenize": False,
            "ignore_eos": True,
            "extra_args": {"forced_ids": list(answer_ids)},
        }
        tokens = list(self._request(prompt, num_items, asked, params, Usage()))
        if len(tokens) < len(answer_ids):
            raise EngineLost("the chat was stopped")
        return sum(token.log_probability for token in tokens)

    @property
    def _key(self) -> object:
        """Text alone has nothing to share."""
        if self.source is None or not self._is_shared:
            return (self.source.key if self.source is not None else None, self._name)
        return self.source.key

    def _find_frames(self) -> Iterator[Progress]:
        """If another chat sent the frames, decode the source to find out which frames can be decoded."""
        source = self.source
        if source is not None and not source.complete:
            for _ in source.ensure_decoded(self._should_stop.is_set):
                yield Progress(Stage.SAMPLING, len(source.frame_refs), source.num_frames)

    def _prefill_source(self, prompt: Prompt, source: Source) -> Iterator[Progress]:
        if isinstance(source, VideoSource):
            yield from self._prefill_video(prompt, source)
        elif images := images_of(source):
            prompt.items += [picture_item(image.slots, number) for number, image in enumerate(images)]
            num_tokens = self._engine.processor.image_processor.num_tokens
            prompt.num_frame_tokens = sum(num_tokens(len(image.slots)) for image in images)
            yield from self._prefill(prompt, len(images))

    def _prefill_video(self, prompt: Prompt, source: VideoSource) -> Iterator[Progress]:
        """Send frames while others are decoded."""
        num_frames = 0
        started = time.perf_counter()
        for pixels in source.pixels(ITEM_FRAMES, self._should_stop.is_set):
            self.seconds_decoding += time.perf_counter() - started
            if pixels is None:
                yield Progress(Stage.SAMPLING, len(source.indices), source.num_frames)
            else:
                prompt.items.append(frames_item(pixels, num_frames))
                num_frames += len(pixels)
                prompt.num_frame_tokens = num_frames * self._engine.model.tokens_per_frame
                if len(prompt.items) - prompt.num_sent >= STEP_ITEMS:
                    yield from self._prefill(prompt, len(prompt.items))
            started = time.perf_counter()
        if num_frames == 0 and not self._should_stop.is_set():
            raise VideoError(f"no frame of {source.path.name} could be decoded", "try another video")
        if len(prompt.items) > prompt.num_sent:
            yield from self._prefill(prompt, len(prompt.items))

    def _prefill(self, prompt: Prompt, num_items: int) -> Iterator[Progress]:
        """Have header and the first `num_items` items in a replica's prefix cache, STEP_ITEMS at a time."""
        retries, params = Retries(self._should_stop), {"temperature": 0.0, "max_tokens": 1, "detokenize": False}
        while not self._should_stop.is_set():
            usage, last = Usage(), min(num_items, prompt.num_sent + STEP_ITEMS)
            try:
                for _ in self._request(prompt, last, [], params, usage):
                    pass
            except ItemsMissing:
                retries.resend(prompt)
            except EngineLost as lost:
                self._retry(retries, lost)
            else:
                self._engine.counts.add_prompt(usage)
                yield self._progress(prompt.items[last - 1])
                if last == num_items:
                    return

    def _progress(self, item: Item) -> Progress:
        """Everything up to `item` is in the KV cache."""
        total = self.source.num_frames if self.source is not None else 0
        images = images_of(self.source)[: item.first + 1]
        done = sum(image.num_frames for image in images) if images else item.first + item.count
        return Progress(Stage.PREFILL, done, total)

    def _retry(self, retries: Retries, lost: EngineLost) -> None:
        if not self._should_stop.is_set():  # else the stream ended because the chat was stopped
            self._engine.counts.add_retry(lost)
            retries.wait(lost)

    def _request(
        self, prompt: Prompt, num_items: int, ids: Sequence[int], params: dict[str, Any], usage: Usage
    ) -> Generator[NewToken]:
        """Send the first `num_items` items with `ids` after them; those that were sent by their uuid alone."""
        engine, items = self._engine, prompt.items[:num_items]
        token_ids = [*engine.template.header, *[engine.place] * len(items), *ids]
        parts = [item.part(None if number < prompt.num_sent else self._data(item)) for number, item in enumerate(items)]
        body = request_body(engine.served, token_ids, parts, params, prompt.salt)
        headers = {"X-Session-ID": prompt.session}
        with closing(engine.transport.stream(GENERATE, body, headers, self._should_stop.is_set)) as events:
            for token in read_events(events, usage):
                prompt.num_sent = max(prompt.num_sent, len(items))
                yield token

    def _data(self, item: Item) -> bytes:
        """The item's pixels, which are on this machine's disk, or in the picture's source."""
        source = self.source
        if isinstance(source, VideoSource):
            return frames_data(source.stored_frames(item.first, item.count))
        image = images_of(source)[item.first]
        return picture_data(image.slots, self._engine.num_columns(image.size))

    def _observe(self, usage: Usage, prompt: Prompt) -> None:
        """Count the prompt's tokens, and correct `status` if the replica had evicted the prefix."""
        self._engine.counts.add_prompt(usage)
        cached = usage.cached_tokens
        if usage.prompt_tokens and cached is not None and cached < prompt.num_frame_tokens / 2:
            self.status = CacheStatus.MISS


def last_rise(score: Callable[[int], float], count: int, whole: float) -> tuple[int, float] | None:
    """The last part of `count` without which the score is clearly below `whole`, and the rise with it.

    `score(n)` is that of the first n parts. From this part on, the score stays close to `whole`: a larger rise before,
    as from no frames to any, says less.

    >>> last_rise([-9.0, -3.0, -3.5, -0.25].__getitem__, 4, -0.25)
    (2, 3.25)
    """
    after = whole
    for number in reversed(range(count)):
        before = score(number)
        if whole - before >= MIN_DROP:
            return number, after - before
        after = before
    return None


def images_of(source: Source | None) -> tuple[ImageSource, ...]:
    """The pictures of a source; none of a video."""
    if isinstance(source, PicturesSource):
        return source.images
    return (source,) if isinstance(source, ImageSource) else ()
