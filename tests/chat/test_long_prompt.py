"""No path through the package truncates a prompt; one that exceeds the model's context is refused in one line."""

from functools import partial
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, LocalEngine, Sampling, VideoSource
from longva_demo.cli.main import main
from longva_demo.errors import BudgetError, DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.model.golden import COPY
from tests.model.test_published import copy_a

A = COPY / "a" / "checkpoint"
CONTEXT = 960  # tokens; 512 are kept for text, 256 for the answer, and a frame takes 4
MAX_FRAMES = (CONTEXT - 512 - 256) // 4
QUESTION = "What happens at the end?"


def open_chat(checkpoint: Path, clip: Path, num_frames: int) -> ChatSession:
    session = ChatSession(LocalEngine(load(str(checkpoint), device="cpu"), Settings()))
    session.set_source(VideoSource(info := probe(clip), plan_frames(info, num_frames), session.engine.processor))
    return session


def test_a_chat_ignores_the_length_in_config_json(clip: Path, tmp_path: Path) -> None:
    """A limit of 30 tokens, a prompt of more than 200: the same answer from the same number of tokens."""
    ours = open_chat(copy_a(tmp_path, tokenizer_model_max_length=30), clip, 50)
    theirs = open_chat(A, clip, 50)
    for session in (ours, theirs):
        list(session.ask(QUESTION, Sampling(max_new_tokens=8)))
        list(session.ask(QUESTION * 10, Sampling(max_new_tokens=8)))
    assert [turn.answer for turn in ours.turns] == [turn.answer for turn in theirs.turns]
    assert ours.turns[0].stats.num_tokens == theirs.turns[0].stats.num_tokens > 200
    assert ours.turns[1].stats.num_tokens > ours.turns[0].stats.num_tokens + 100


def test_frames_past_the_context_are_refused_before_anything_is_decoded(clip: Path, tmp_path: Path) -> None:
    checkpoint = copy_a(tmp_path, max_position_embeddings=CONTEXT)
    with pytest.raises(BudgetError) as caught:
        open_chat(checkpoint, clip, MAX_FRAMES + 1)
    assert str(caught.value) == (
        f"{MAX_FRAMES + 1} frames need {4 * (MAX_FRAMES + 1)} tokens and 0.00 GB of memory, "
        f"but only {MAX_FRAMES} frames fit here; set the budget to {MAX_FRAMES} or less"
    )
    session = open_chat(checkpoint, clip, MAX_FRAMES)
    assert list(session.ask(QUESTION, Sampling(max_new_tokens=4)))


def test_a_conversation_past_the_context_is_refused(clip: Path, tmp_path: Path) -> None:
    session = open_chat(copy_a(tmp_path, max_position_embeddings=CONTEXT), clip, MAX_FRAMES)
    ask = partial(session.ask, "What happens? " * 100, Sampling(max_new_tokens=4))
    list(ask())
    with pytest.raises(DemoError) as caught:
        list(ask())
    line = str(caught.value)
    assert f"of the model's {CONTEXT:,} tokens, too many to answer; " in line
    assert "\n" not in line


@pytest.mark.parametrize(("num_frames", "code"), [(MAX_FRAMES, 0), (MAX_FRAMES + 1, 2)])
def test_the_command_line_says_the_same(
    num_frames: int, code: int, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copy_a(tmp_path, max_position_embeddings=CONTEXT, tokenizer_model_max_length=30)
    options = ["--model", str(checkpoint), "--device", "cpu", "--frames", str(num_frames)]
    assert main(["ask", str(clip), QUESTION, *options]) == code
    errors = capsys.readouterr().err.splitlines()
    refusals = [line for line in errors if f"but only {MAX_FRAMES} frames fit here; set the budget to" in line]
    assert len(refusals) == (code == 2)
    assert "Traceback" not in "".join(errors)
