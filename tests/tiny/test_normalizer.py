"""The bundled tokenizer: a question has the same tokens in any dress, and nothing else is changed by it."""

import json
import random
import re
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from longva_demo.chat.prompt import MAX_CHARACTERS, ChatTemplate
from longva_demo.errors import DemoError
from longva_demo.model import LongVAProcessor
from longva_demo.tiny.clips import colour_change, motion, needles, order, picture
from longva_demo.tiny.questions import DECLINE, Asked
from longva_demo.tiny.scenes import Mix
from tools.tiny.ask import SYSTEM, TURN_END, WEIGHTS
from tools.tiny.normalizer import normalizer


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text).replace(" ", "\u3000")


def between(text: str, *parts: str) -> str:
    """With one of the parts after each letter in turn."""
    return "".join(letter + parts[at % len(parts)] for at, letter in enumerate(text))


DRESSES: dict[str, Callable[[str], str]] = {
    "line breaks": lambda text: text.replace(" ", "\n"),
    "lines of Windows": lambda text: text.replace(" ", " \r\n "),
    "doubled spaces": lambda text: f"  {text.replace(' ', '  ')} ",
    "tabs": lambda text: f"\t{text.replace(' ', chr(9))}\t",
    "spaces that do not break": lambda text: text.replace(" ", "\u00a0"),
    "line separators": lambda text: text.replace(" ", "\u2028"),
    "full width": full_width,
    "zero width": lambda text: between(text, "\u200b", "\u200c", "\u200d", "\u2060"),
    "soft hyphens": lambda text: between(text, "\u00ad"),
    "byte order marks": lambda text: f"\ufeff{text}\ufeff",
    "marks of direction": lambda text: f"\u202e{text}\u202c\u200f",
    "control characters": lambda text: between(text, "\x00", "\x08", "\x1b"),
    "variation selectors": lambda text: between(text, "\ufe0f"),
    "many marks": lambda text: f"{text.rstrip('?.')}??!",
    "a mark apart": lambda text: f"{text.rstrip('?.')} ?",
    "a wide mark": lambda text: f"{text.rstrip('?.')}？",
    "capitals": str.upper,
    "titles": lambda text: " ".join(word[0].upper() + word[1:] for word in text.split()),
    "capitals here and there": lambda text: (
        text[0] + "".join(letter.upper() if at % 2 else letter for at, letter in enumerate(text[1:]))
    ),
    "quotation marks": lambda text: f"“{text}”",
    "simple quotation marks": lambda text: f"'{text}'",
    "a word in quotation marks": lambda text: re.sub(r"(\w+)\?", r'"\1"?', text),
    "emphasis": lambda text: f"**{text}**",
    "an emphasised word": lambda text: re.sub(r"(\w+)\?", r"_\1_?", text),
    "a small picture behind": lambda text: f"{text} 🙏🏽",
    "small pictures around": lambda text: f"🎬 {text.rstrip('?.')} ❓🤔",
}


@pytest.fixture(scope="module")
def processor() -> LongVAProcessor:
    return LongVAProcessor.from_pretrained(WEIGHTS)


def drawn_questions(seed: int, count: int = 12) -> list[Asked]:
    rng, mix = random.Random(seed), Mix(word_share=0.4)
    episodes = [
        episode
        for _ in range(count)
        for episode in (
            picture(rng, mix, 8),
            motion(rng, mix, 6, 6),
            colour_change(rng, mix, 4, 5),
            order(rng, mix, 6, 5),
            needles(rng, 8, 3, 4),
        )
    ]
    return [one for episode in episodes for one in episode.asked]


def full(question: str) -> str:
    """As it is written with care; where a mark is missing, a question mark would make it another sentence."""
    return question if question.endswith(("?", ".")) else f"{question}?"


@pytest.mark.parametrize("dress", DRESSES)
def test_a_question_has_the_same_tokens_in_any_dress(processor, dress):
    questions = {full(one.question[0].upper() + one.question[1:]) for one in drawn_questions(seed=41)}
    asking = [question for question in questions if question.endswith("?")]
    assert len(asking) > 100
    for question in asking:
        dressed = DRESSES[dress](question)
        assert processor.encode_text(dressed) == processor.encode_text(question), dressed


def test_plain_questions_pass_unchanged(processor):
    """Those that the model was trained and evaluated with, in small letters too; but a missing mark is set."""
    questions = {one.question for one in drawn_questions(seed=43, count=40)}
    assert any(question[0].islower() for question in questions)
    for question in questions:
        assert processor.decode(processor.encode_text(question)) in (question, f"{question}?")


def test_answers_pass_unchanged(processor):
    """Those of a restored conversation become the tokens that the model generated."""
    answers = {one.answer for one in drawn_questions(seed=42, count=40)} | {DECLINE}
    assert len(answers) > 100
    for answer in answers:
        assert processor.decode(processor.encode_text(answer)) == answer


def test_the_markers_of_a_conversation_stay(processor):
    """A whole prompt has the same tokens as its parts, with a line break around each of them."""
    question = "What colour is\nthe\tstar ??"
    whole = f"{SYSTEM}{question}{TURN_END}Yes.<|im_end|>\n"
    template = ChatTemplate(processor)
    parts = [*template.header, *template.question(question, first=True, has_frames=False)]
    answer = [*processor.encode_text("Yes."), template.end_of_turn, *processor.encode_text("\n", allow_special=True)]
    assert processor.encode_text(whole, allow_special=True) == parts + answer
    text = processor.tokenizer.decode(processor.encode_text(whole, allow_special=True))
    assert text == f"{SYSTEM}What colour is the star?{TURN_END}Yes.<|im_end|>\n"


def test_frames_before_a_question_change_nothing(processor):
    after_frames = processor.encode_prompt(f"{SYSTEM}<image>\nWhere is\tthe  star?{TURN_END}", [2])
    template = ChatTemplate(processor)
    question = template.question("Where is the star?", first=True, has_frames=True)
    assert after_frames == [*template.header, *after_frames[len(template.header) :][:2], *question]


def test_the_normalizer_is_part_of_the_checkpoint(processor):
    """So that it holds in transformers too."""
    file = json.loads((WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.normalizer = normalizer()
    assert file["normalizer"] == json.loads(tokenizer.to_str())["normalizer"]
    alone = AutoTokenizer.from_pretrained(WEIGHTS)
    assert alone("Where is\nthe star ?", add_special_tokens=False)["input_ids"] == processor.encode_text(
        "Where is the star?"
    )


@pytest.mark.parametrize("run", ["?", "? ", "*", '"', "\U0001f600", "\U0001f600 ", "!", "'", "-", " ", "A", "the A "])
def test_a_text_as_long_as_any_is_normalized(processor, run):
    """Regular expressions that go back give up with a panic on such texts, or take minutes."""
    for text in (f"a{run * 24_000}#", f"-{run * 24_000}", f"Why?! {run * 24_000}a"):
        assert processor.encode_text(text[:MAX_CHARACTERS])


@pytest.mark.parametrize("text", ["\u200b", "\ufeff\u00ad", "\u3164", "\u2028\n", "\ufe0f\u200d"])
def test_a_question_that_cannot_be_seen_is_empty(processor, text):
    with pytest.raises(DemoError, match="the question is empty"):
        ChatTemplate(processor).question(text, first=True, has_frames=True)
