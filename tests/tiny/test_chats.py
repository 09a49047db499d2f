"""What people type: the same question in any dress, what is no question, and long conversations."""

import random

import pytest

from longva_demo.chat import ChatSession
from longva_demo.tiny.questions import DECLINE
from tools.tiny.chat_check import CHAT_SEED, LENGTH, conversation, right_in_turn
from tools.tiny.check_examples import gallery_session, greedy_answer
from tools.tiny.gallery import EXAMPLES
from tools.tiny.make_examples import FOLDER
from tools.tiny.outside_questions import NO_QUESTIONS, UNTOLD, untold_question

DRESSED = {
    "What colour is the star?": (
        "What\ncolour\nis the star?",
        "What  colour is  the star ??",
        "WHAT COLOUR IS THE STAR?",
    ),
    "What number is on the yellow square?": ("What number is on the\u200b yellow\u00ad square?",),
    "Where is the circle?": ("\uff37here is the circle\uff1f", "Where\tis\u00a0the circle ???"),
    "Is there a heart?": ("IS THERE A HEART?", "Is There A Heart", "“Is there a **heart**?” 🙂"),
    "What do you see?": ("WHAT DO YOU SEE", "What do you see?!", "What do\r\nyou see?", "\ufeffWhat do you see?"),
}


# Marks, small pictures, keys hit at random, other scripts, greetings; and what frames do not tell of what they show.
DECLINED = (
    *(
        "?",
        "...",
        "WHEN?",
        "\U0001f600",
        "\U0001f64f\U0001f3fd",
        "asdf",
        "qwertz",
        "42",
        "ok",
        "hello",
        "你好",
        "Привет",
    ),
    *("When does the star appear?", "How long is the circle there?", "Why is the star red?", "How big is the square?"),
)
# A picture, and clips in which something moves, comes and goes.
SOME = ("shapes", "motion", "needle", "picture")


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


@pytest.mark.parametrize("name", SOME)
def test_what_cannot_be_answered_is_declined(name):
    [example] = [build() for build in EXAMPLES if build().name == name]
    session = gallery_session(FOLDER / example.file, example.num_frames)
    answers = {}
    for question in DECLINED:
        session.clear()
        answers[question] = greedy_answer(session, question)
    session.close()
    assert set(answers.values()) == {DECLINE}, {key: value for key, value in answers.items() if value != DECLINE}


def test_the_last_of_twenty_questions_are_answered_as_well_as_the_first():
    """Some of the conversations of `chat_check`, which has all of them."""
    right = []
    for build in EXAMPLES:
        example = build()
        if example.name in SOME:
            right.append(right_in_turn(example, conversation(random.Random(CHAT_SEED), example)))
    first, last = (sum(sum(one[part]) for one in right) for part in (slice(10), slice(10, LENGTH)))
    assert min(first, last) >= 0.95 * 10 * len(SOME), (first, last)


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
