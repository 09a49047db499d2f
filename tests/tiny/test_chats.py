"""What people type: variants of one question, texts that are not questions, and long conversations."""

import random

import pytest

from longva_demo.chat import ChatSession
from longva_demo.tiny.questions import REFUSAL
from tools.tiny.chat_check import CHAT_SEED, LENGTH, conversation, right_in_turn
from tools.tiny.check_examples import gallery_session, greedy_answer
from tools.tiny.gallery import EXAMPLES
from tools.tiny.make_examples import FOLDER
from tools.tiny.out_of_scope_questions import NON_QUESTIONS, UNANSWERABLE, unanswerable_question

pytestmark = pytest.mark.slow

VARIANTS = {
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


# Punctuation, emoji, random keys, other scripts, greetings; and questions that frames cannot answer.
REFUSED = (
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
# A picture, and clips in which things move, appear and disappear.
SOME = ("shapes", "motion", "needle", "picture")


@pytest.fixture
def session() -> ChatSession:
    """A chat about the first clip of the gallery."""
    example = EXAMPLES[0]()
    return gallery_session(FOLDER / example.file, example.num_frames)


@pytest.mark.parametrize("question", VARIANTS)
def test_variants_of_a_question_get_the_same_answer(session, question):
    """Token for token. The turn keeps the question as typed."""
    greedy_answer(session, question)
    [plain] = session.turns
    assert plain.answer != REFUSAL
    for variant in VARIANTS[question]:
        session.clear()
        greedy_answer(session, variant)
        [turn] = session.turns
        assert (turn.question, turn.answer_ids) == (variant, plain.answer_ids)


@pytest.mark.parametrize("name", SOME)
def test_unanswerable_texts_are_refused(name):
    [example] = [build() for build in EXAMPLES if build().name == name]
    session = gallery_session(FOLDER / example.file, example.num_frames)
    answers = {}
    for question in REFUSED:
        session.clear()
        answers[question] = greedy_answer(session, question)
    session.close()
    assert set(answers.values()) == {REFUSAL}, {key: value for key, value in answers.items() if value != REFUSAL}


def test_late_questions_are_answered_as_well_as_early_ones():
    """A part of the conversations of `chat_check`."""
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
        assert sum(asked.answer == REFUSAL for asked in one) >= 2


def test_texts_that_are_not_questions_vary():
    rng = random.Random(4)
    for make in NON_QUESTIONS:
        assert len({make(rng) for _ in range(300)}) > 20
    assert len({unanswerable_question(rng) for _ in range(1000)}) > len(UNANSWERABLE)
