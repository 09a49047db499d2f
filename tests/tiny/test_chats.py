"""What people type: the same question in any dress, what is no question, and long conversations."""

import random

import pytest

from longva_demo.chat import ChatSession
from longva_demo.tiny.chat_check import LENGTH, conversation
from longva_demo.tiny.check_examples import gallery_session, greedy_answer
from longva_demo.tiny.gallery import EXAMPLES
from longva_demo.tiny.make_examples import FOLDER
from longva_demo.tiny.outside_questions import NO_QUESTIONS, UNTOLD, untold_question
from longva_demo.tiny.questions import DECLINE

DRESSED = {
    "What colour is the star?": ("What\ncolour\nis the star?", "What  colour is  the star ??"),
    "What number is on the yellow square?": ("What number is on the\u200b yellow\u00ad square?",),
    "Where is the circle?": ("\uff37here is the circle\uff1f", "Where\tis\u00a0the circle ???"),
    "What do you see?": ("What do you see?!", "What do\r\nyou see?", "\ufeffWhat do you see?"),
}


@pytest.fixture
def session() -> ChatSession:
    """About the first clip of the gallery."""
    example = EXAMPLES[0]()
    return gallery_session(FOLDER / example.file, example.num_frames)


@pytest.mark.parametrize("question", DRESSED)
def test_the_same_answer_to_a_question_in_any_dress(session, question):
    """Token for token; the turn keeps what was typed."""
    greedy_answer(session, question)
    [plain] = session.turns
    assert plain.answer != DECLINE
    for dressed in DRESSED[question]:
        session.clear()
        greedy_answer(session, dressed)
        [turn] = session.turns
        assert (turn.question, turn.answer_ids) == (dressed, plain.answer_ids)


def test_conversations_of_the_gallery_are_long_and_vary():
    for build in EXAMPLES:
        example = build()
        one, two = (conversation(random.Random(seed), example) for seed in (1, 2))
        assert len({asked.question for asked in one}) == LENGTH
        assert [asked.question for asked in one] != [asked.question for asked in two]
        assert sum(asked.answer == DECLINE for asked in one) >= 2


def test_what_is_no_question_varies():
    rng = random.Random(4)
    for make in NO_QUESTIONS:
        assert len({make(rng) for _ in range(300)}) > 20
    assert len({untold_question(rng) for _ in range(1000)}) > len(UNTOLD)
