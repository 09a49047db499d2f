"""Faults at every stage of a chat: one line, the earlier turns stay, the next question works."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from longva_demo.chat import ChatSession, LocalEngine, TextDelta, VideoSource
from longva_demo.chat.kv_cache import GrowingLayer
from longva_demo.chat.prompt import MAX_CHARACTERS
from longva_demo.chat.video_source import REPAIRED
from longva_demo.errors import BudgetError, DemoError, VideoError
from longva_demo.settings import Settings
from longva_demo.video import decode_frames, plan_frames, probe
from tests.chat.conftest import GREEDY, answer, make_source
from tests.chat.test_session import counted

pytestmark = pytest.mark.slow
QUESTION, SECOND = "What is first?", "And then?"


@pytest.fixture
def session(engine: LocalEngine, clip: Path) -> Iterator[ChatSession]:
    """A chat that shares no prefix with other tests."""
    session = ChatSession(engine, is_shared=False)
    session.set_source(make_source(engine, clip))
    yield session
    session.close()


@contextmanager
def limited_memory(num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`num_bytes` more of KV cache can be allocated; a larger buffer raises as CUDA does."""
    left = num_bytes
    reserve = GrowingLayer.reserve

    def reserve_if_it_fits(self: GrowingLayer, num_tokens: int) -> None:
        nonlocal left
        before = self.num_bytes
        heads, size = self._key_buffer.shape[1], self._key_buffer.shape[3]
        left -= 2 * heads * num_tokens * size * self._key_buffer.element_size() - before
        if left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        reserve(self, num_tokens)

    with monkeypatch.context() as patch:
        patch.setattr(GrowingLayer, "reserve", reserve_if_it_fits)
        yield


def fail_at(call: int, error: Exception) -> Callable[[int], None]:
    def action(count: int) -> None:
        if count == call:
            raise error

    return action


# Prefill of 40 frames: a module of the model, and which of its calls fails.
PREFILL = {"the first frames": ("vision", 1), "later frames": ("vision", 3), "the prompt": ("language", 1)}
STAGES = {**PREFILL, "frames into the cache": ("language", 2), "the projector": ("projector", 2)}


def module_of(engine: LocalEngine, name: str) -> torch.nn.Module:
    model = engine.loaded.model.model
    parts = {"vision": model.vision_tower, "language": model.layers[-1], "projector": model.mm_projector}
    part = parts[name]
    assert isinstance(part, torch.nn.Module)
    return part


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a fault")], ids=["memory", "fault"]
)
def test_a_fault_during_prefill(session: ChatSession, stage: str, error: Exception) -> None:
    name, call = STAGES[stage]
    expected = BudgetError if isinstance(error, torch.OutOfMemoryError) else RuntimeError
    with counted(module_of(session.engine, name), fail_at(call, error)), pytest.raises(expected) as caught:
        list(session.ask(QUESTION, GREEDY))
    if isinstance(caught.value, BudgetError):
        assert str(caught.value) == "out of memory with 40 frames; set the budget to 20 or less"
    assert session.turns == []
    assert answer(session, QUESTION)
    assert not session.turns[0].stats.reused  # the partial prefill was not cached


@pytest.mark.parametrize("call", [1, 2, 6], ids=["question", "first word", "later word"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a fault")], ids=["memory", "fault"]
)
def test_a_fault_in_an_answer(
    engine: LocalEngine, session: ChatSession, clip: Path, call: int, error: Exception
) -> None:
    """Also between the layers of one step, when only some have the new token in their cache."""
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
        limited_memory(1000, monkeypatch),
        pytest.raises(BudgetError, match="out of memory with 40 frames; set the budget to 20 or less"),
    ):
        list(session.ask(QUESTION, GREEDY))
    assert answer(session, QUESTION)


def test_without_memory_for_a_copy_a_chat_waits(
    engine: LocalEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chats about the same frames at the same time: the second copies the prefix, or waits for the first."""
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

    with limited_memory(0, monkeypatch), monkeypatch.context() as patch:
        patch.setattr(two._stop, "wait", finish_the_other)
        assert answer(two, QUESTION).startswith(begun)
    assert len(waits) == 1
    assert one.turns[0].answer == two.turns[0].answer
    one.close()
    two.close()


# The disk. Writing to /dev/full fails as on a full disk.


def test_a_full_disk_while_frames_are_stored(session: ChatSession) -> None:
    source = session.source
    assert isinstance(source, VideoSource)
    source.frame_store.file.symlink_to("/dev/full")
    with pytest.raises(VideoError) as caught:
        list(session.ask(QUESTION, GREEDY))
    assert str(caught.value) == "cannot store the frames on disk (No space left on device); free some space"
    source.frame_store.file.unlink()
    assert answer(session, QUESTION)


def test_a_full_disk_while_features_are_stored(engine: LocalEngine, clip: Path) -> None:
    """They only save time: the answer comes without them, and a part is never taken for the whole."""
    keeping = LocalEngine(engine.loaded, Settings(), keep_features=True)
    source = make_source(keeping, clip)
    full = source.folder / "features-000016.new"
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
    assert answer(last, QUESTION) == first  # from the stored features
    for one in (session, again, last):
        one.close()


def test_no_folder_for_temporary_files(
    engine: LocalEngine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr("tempfile.tempdir", str(file))
    with pytest.raises(DemoError) as caught:
        make_source(engine, clip)
    assert str(caught.value) == (
        f"cannot write to {file} (Not a directory); free some space there, or set TMPDIR to another folder"
    )


def cut_file(source: VideoSource) -> None:
    source.frame_store.file.write_bytes(source.frame_store.file.read_bytes()[:1000])


def delete_folder(source: VideoSource) -> None:
    shutil.rmtree(source.folder)


@pytest.mark.parametrize("damage", [cut_file, delete_folder])
def test_deleted_frames_are_decoded_again(
    session: ChatSession, engine: LocalEngine, clip: Path, damage: Callable[[VideoSource], None]
) -> None:
    """Some systems clean the temporary folder while it is in use."""
    source = session.source
    assert isinstance(source, VideoSource)
    list(source.frames())
    before, frames = [source.stored_frame(position) for position in range(source.num_frames)], session.frames
    damage(source)
    other = ChatSession(engine, is_shared=False)
    other.set_source(make_source(engine, clip))
    assert answer(session, QUESTION) == answer(other, QUESTION)
    other.close()
    assert session.notes == [REPAIRED]
    assert session.frames == frames
    damage(source)
    assert all(np.array_equal(source.stored_frame(position), pixels) for position, pixels in enumerate(before))
    assert [path.name for path in source.folder.iterdir() if "features" not in path.name] == ["pixels.bin"]


def test_frames_deleted_during_the_decoding(session: ChatSession) -> None:
    source = session.source
    assert isinstance(source, VideoSource)
    batches = source.frames()
    next(batches)
    batches.close()
    source.indices.extend(range(40))  # as if they had been stored, and then deleted
    delete_folder(source)
    pixels = [part for part in source.pixels(16, lambda: False) if part is not None]
    assert sum(map(len, pixels)) == source.num_frames


def test_deleted_frames_and_a_deleted_video(engine: LocalEngine, clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    shutil.copy(clip, file)
    session = ChatSession(engine, is_shared=False)
    source = make_source(engine, file)
    session.set_source(source)
    list(source.frames())
    assert source.sha256
    delete_folder(source)
    file.unlink()
    for _ in range(2):
        with pytest.raises(VideoError, match=r"the stored frames of clip.mp4 were deleted; load the video again"):
            list(session.ask(QUESTION, GREEDY))
    shutil.copy(clip, file)
    assert answer(session, QUESTION)
    session.close()


def test_no_shared_memory_for_decoded_frames(clip: Path) -> None:
    info = probe(clip)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(VideoError, match=r"cannot allocate 1 MB for frames \(File too large\); free some"):
            list(decode_frames(clip, plan_frames(info, 40), info=info))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert sum(len(batch) for batch in decode_frames(clip, plan_frames(info, 40), info=info)) == 40


# Questions


def test_a_question_of_a_megabyte_is_refused_at_once(session: ChatSession) -> None:
    with pytest.raises(DemoError, match=f"the question has 1,000,000 characters; use {MAX_CHARACTERS:,} or fewer"):
        list(session.ask("what " * 200_000, GREEDY))
    assert answer(session, "\x00\x1b[31m\u202e<image><|im_end|>\r\n")
