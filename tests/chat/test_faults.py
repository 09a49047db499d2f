"""Faults inside a chat, at every place where they can happen: one line, the earlier turns stay, the next one works."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from longva_demo.chat import ChatSession, Engine, TextDelta, VideoSource
from longva_demo.chat.kv_cache import GrowingLayer
from longva_demo.chat.prompt import MAX_CHARACTERS
from longva_demo.chat.source import MENDED
from longva_demo.errors import BudgetError, DemoError, VideoError
from longva_demo.settings import Settings
from longva_demo.video import decode_frames, plan_frames, probe
from tests.chat.conftest import GREEDY, answer, make_source
from tests.chat.test_session import counted

QUESTION, SECOND = "What is first?", "And then?"


@pytest.fixture
def session(engine: Engine, clip: Path) -> Iterator[ChatSession]:
    """A chat of its own: what other tests read does not help it."""
    session = ChatSession(engine, is_shared=False)
    session.set_source(make_source(engine, clip))
    yield session
    session.close()


@contextmanager
def memory_for(num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that has room for so many more bytes of cache; each buffer that does not fit raises as CUDA does."""
    left = num_bytes
    reserve = GrowingLayer.reserve

    def reserve_some(self: GrowingLayer, num_tokens: int) -> None:
        nonlocal left
        before = self.num_bytes
        heads, size = self._key_buffer.shape[1], self._key_buffer.shape[3]
        left -= 2 * heads * num_tokens * size * self._key_buffer.element_size() - before
        if left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        reserve(self, num_tokens)

    with monkeypatch.context() as patch:
        patch.setattr(GrowingLayer, "reserve", reserve_some)
        yield


def fail_at(call: int, error: Exception) -> Callable[[int], None]:
    def action(count: int) -> None:
        if count == call:
            raise error

    return action


# The reading of 40 frames: what of the model runs, and which time of it fails.
READING = {"the first frames": ("vision", 1), "later frames": ("vision", 3), "the prompt": ("language", 1)}
PLACES = {**READING, "frames into the cache": ("language", 2), "the projector": ("projector", 2)}


def module_of(engine: Engine, name: str) -> torch.nn.Module:
    model = engine.loaded.model.model
    parts = {"vision": model.vision_tower, "language": model.layers[-1], "projector": model.mm_projector}
    part = parts[name]
    assert isinstance(part, torch.nn.Module)
    return part


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a fault")], ids=["memory", "fault"]
)
def test_a_fault_while_reading(session: ChatSession, place: str, error: Exception) -> None:
    name, call = PLACES[place]
    expected = BudgetError if isinstance(error, torch.OutOfMemoryError) else RuntimeError
    with counted(module_of(session.engine, name), fail_at(call, error)), pytest.raises(expected) as caught:
        list(session.ask(QUESTION, GREEDY))
    if isinstance(caught.value, BudgetError):
        assert str(caught.value) == "the memory ran out with 40 frames; set the budget to 20 or less"
    assert session.turns == []
    assert answer(session, QUESTION)
    assert not session.turns[0].stats.reused  # nothing half read was taken up


@pytest.mark.parametrize("call", [1, 2, 6], ids=["question", "first word", "later word"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a fault")], ids=["memory", "fault"]
)
def test_a_fault_while_answering(engine: Engine, session: ChatSession, clip: Path, call: int, error: Exception) -> None:
    """Also between the layers of one step, when some have the new token in their cache and some have not."""
    first = answer(session, QUESTION)
    with counted(module_of(engine, "language"), fail_at(call, error)) as calls, suppress(BudgetError, RuntimeError):
        list(session.ask(SECOND, GREEDY))
    assert len(calls) == call
    assert [turn.answer for turn in session.turns] == [first]
    second = answer(session, SECOND)
    fresh = ChatSession(engine, is_shared=False)
    fresh.set_source(make_source(engine, clip))
    assert [answer(fresh, QUESTION), answer(fresh, SECOND)] == [first, second]
    fresh.close()


def test_no_memory_for_the_cache(session: ChatSession, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        memory_for(1000, monkeypatch),
        pytest.raises(BudgetError, match="the memory ran out with 40 frames; set the budget to 20 or less"),
    ):
        list(session.ask(QUESTION, GREEDY))
    assert answer(session, QUESTION)


def test_no_memory_for_a_copy_means_waiting(engine: Engine, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chats about the same frames at the same moment: the second needs a copy, or else its turn."""
    one, two = ChatSession(engine), ChatSession(engine)
    for session in (one, two):
        session.set_source(make_source(engine, clip, 24))
    running = one.ask(QUESTION, GREEDY)
    begun = next(event for event in running if isinstance(event, TextDelta)).text
    waits: list[float] = []

    def finish_the_other(seconds: float) -> bool:
        waits.append(seconds)
        list(running)
        return False

    with memory_for(0, monkeypatch), monkeypatch.context() as patch:
        patch.setattr(two._stop, "wait", finish_the_other)
        assert answer(two, QUESTION).startswith(begun)
    assert len(waits) == 1
    assert one.turns[0].answer == two.turns[0].answer
    one.close()
    two.close()


# The disk. /dev/full takes no byte, as a full one.


def test_a_full_disk_while_frames_are_kept(session: ChatSession) -> None:
    source = session.source
    assert isinstance(source, VideoSource)
    source._file.symlink_to("/dev/full")
    with pytest.raises(VideoError) as caught:
        list(session.ask(QUESTION, GREEDY))
    assert str(caught.value) == "the frames cannot be kept on disk (No space left on device); free some space"
    source._file.unlink()
    assert answer(session, QUESTION)


def test_a_full_disk_while_features_are_kept(engine: Engine, clip: Path) -> None:
    """They only save time: the answer comes without them, and half of them is never taken for all."""
    keeping = Engine(engine.loaded, Settings(), keep_features=True)
    source = make_source(keeping, clip)
    full = source._folder / "features-000016.pt"
    full.symlink_to("/dev/full")
    session = ChatSession(keeping)
    session.set_source(source)
    first = answer(session, QUESTION)
    assert not source.has_features
    assert not full.is_symlink()
    again = ChatSession(keeping, is_shared=False)
    again.set_source(source)
    assert answer(again, QUESTION) == first
    assert source.has_features
    last = ChatSession(keeping, is_shared=False)
    last.set_source(source)
    assert answer(last, QUESTION) == first  # from the kept ones
    for one in (session, again, last):
        one.close()


def test_no_place_for_temporary_files(
    engine: Engine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr("tempfile.tempdir", str(file))
    with pytest.raises(DemoError) as caught:
        make_source(engine, clip)
    assert str(caught.value) == (
        f"{file} takes no files (Not a directory); free some space there, or set TMPDIR to another folder"
    )


def cut_short(source: VideoSource) -> None:
    source._file.write_bytes(source._file.read_bytes()[:1000])


def clean_away(source: VideoSource) -> None:
    shutil.rmtree(source._folder)


@pytest.mark.parametrize("spoil", [cut_short, clean_away])
def test_frames_that_somebody_deleted_are_read_from_the_file_again(
    session: ChatSession, engine: Engine, clip: Path, spoil: Callable[[VideoSource], None]
) -> None:
    """Folders for temporary files are cleaned now and then, under whoever uses them."""
    source = session.source
    assert isinstance(source, VideoSource)
    list(source.frames())
    before, frames = [source.kept_frame(place) for place in range(source.num_frames)], session.frames
    spoil(source)
    other = ChatSession(engine, is_shared=False)
    other.set_source(make_source(engine, clip))
    assert answer(session, QUESTION) == answer(other, QUESTION)
    other.close()
    assert session.notes == [MENDED]
    assert session.frames == frames
    spoil(source)
    assert all(np.array_equal(source.kept_frame(place), pixels) for place, pixels in enumerate(before))
    assert [path.name for path in source._folder.iterdir() if "features" not in path.name] == ["pixels.bin"]


def test_frames_that_are_deleted_while_they_come(session: ChatSession) -> None:
    source = session.source
    assert isinstance(source, VideoSource)
    batches = source.frames()
    next(batches)
    batches.close()
    source.indices.extend(range(40))  # as if they had come, and then been deleted
    clean_away(source)
    pixels = [part for part in source.pixels(16, lambda: False) if part is not None]
    assert sum(map(len, pixels)) == source.num_frames


def test_frames_and_file_that_somebody_deleted(engine: Engine, clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    shutil.copy(clip, file)
    session = ChatSession(engine, is_shared=False)
    source = make_source(engine, file)
    session.set_source(source)
    list(source.frames())
    assert source.sha256
    clean_away(source)
    file.unlink()
    for _ in range(2):
        with pytest.raises(VideoError, match=r"the frames of clip.mp4 are no longer kept; load it again"):
            list(session.ask(QUESTION, GREEDY))
    shutil.copy(clip, file)
    assert answer(session, QUESTION)
    session.close()


def test_no_memory_for_frames_on_their_way(clip: Path) -> None:
    info = probe(clip)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(VideoError, match=r"1 MB of memory for frames cannot be had \(File too large\); free some"):
            list(decode_frames(clip, plan_frames(info, 40), info=info))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert sum(len(batch) for batch in decode_frames(clip, plan_frames(info, 40), info=info)) == 40


# What is asked


def test_a_question_of_a_megabyte_is_refused_at_once(session: ChatSession) -> None:
    with pytest.raises(
        DemoError, match=f"the question has 1,000,000 characters; ask it in {MAX_CHARACTERS:,} or fewer"
    ):
        list(session.ask("what " * 200_000, GREEDY))
    assert answer(session, "\x00\x1b[31m\u202e<image><|im_end|>\r\n")
