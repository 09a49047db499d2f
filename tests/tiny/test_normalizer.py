"""The bundled tokenizer: variants of a question have the same tokens, and other texts do not change."""

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
from longva_demo.tiny.questions import REFUSAL, QAPair
from longva_demo.tiny.scenes import Mix
from tools.tiny.ask import SYSTEM, TURN_END, WEIGHTS
from tools.tiny.normalizer import normalizer


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text).replace(" ", "\u3000")


def between(text: str, *parts: str) -> str:
    """The text with one of the parts in turn after each letter."""
    return "".join(letter + parts[at % len(parts)] for at, letter in enumerate(text))


VARIANTS: dict[str, Callable[[str], str]] = {
    "line breaks": lambda text: text.replace(" ", "\n"),
    "Windows line breaks": lambda text: text.replace(" ", " \r\n "),
    "doubled spaces": lambda text: f"  {text.replace(' ', '  ')} ",
    "tabs": lambda text: f"\t{text.replace(' ', chr(9))}\t",
    "non-breaking spaces": lambda text: text.replace(" ", "\u00a0"),
    "line separators": lambda text: text.replace(" ", "\u2028"),
    "full width": full_width,
    "zero-width characters": lambda text: between(text, "\u200b", "\u200c", "\u200d", "\u2060"),
    "soft hyphens": lambda text: between(text, "\u00ad"),
    "byte order marks": lambda text: f"\ufeff{text}\ufeff",
    "direction marks": lambda text: f"\u202e{text}\u202c\u200f",
    "control characters": lambda text: between(text, "\x00", "\x08", "\x1b"),
    "variation selectors": lambda text: between(text, "\ufe0f"),
    "several final marks": lambda text: f"{text.rstrip('?.')}??!",
    "a space before the mark": lambda text: f"{text.rstrip('?.')} ?",
    "a full-width mark": lambda text: f"{text.rstrip('?.')}？",
    "capitals": str.upper,
    "title case": lambda text: " ".join(word[0].upper() + word[1:] for word in text.split()),
    "alternating capitals": lambda text: (
        text[0] + "".join(letter.upper() if at % 2 else letter for at, letter in enumerate(text[1:]))
    ),
    "quotation marks": lambda text: f"“{text}”",
    "single quotation marks": lambda text: f"'{text}'",
    "a word in quotation marks": lambda text: re.sub(r"(\w+)\?", r'"\1"?', text),
    "emphasis": lambda text: f"**{text}**",
    "an emphasised word": lambda text: re.sub(r"(\w+)\?", r"_\1_?", text),
    "a trailing emoji": lambda text: f"{text} 🙏🏽",
    "emoji on both sides": lambda text: f"🎬 {text.rstrip('?.')} ❓🤔",
}


@pytest.fixture(scope="module")
def processor() -> LongVAProcessor:
    return LongVAProcessor.from_pretrained(WEIGHTS)


def drawn_questions(seed: int, count: int = 12) -> list[QAPair]:
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
    """The question with its final mark."""
    return question if question.endswith(("?", ".")) else f"{question}?"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_a_question_have_the_same_tokens(processor, variant):
    questions = {full(one.question[0].upper() + one.question[1:]) for one in drawn_questions(seed=41)}
    asking = [question for question in questions if question.endswith("?")]
    assert len(asking) > 100
    for question in asking:
        text = VARIANTS[variant](question)
        assert processor.encode_text(text) == processor.encode_text(question), text


def test_plain_questions_do_not_change(processor):
    """The questions of training and evaluation, also without capitals. Only a missing final mark is added."""
    questions = {one.question for one in drawn_questions(seed=43, count=40)}
    assert any(question[0].islower() for question in questions)
    for question in questions:
        assert processor.decode(processor.encode_text(question)) in (question, f"{question}?")


def test_answers_do_not_change(processor):
    """So a restored conversation has the tokens that the model generated."""
    answers = {one.answer for one in drawn_questions(seed=42, count=40)} | {REFUSAL}
    assert len(answers) > 100
    for answer in answers:
        assert processor.decode(processor.encode_text(answer)) == answer


def test_chatml_tokens_do_not_change(processor):
    """A whole prompt has the same tokens as its parts."""
    question = "What colour is\nthe\tstar ??"
    whole = f"{SYSTEM}{question}{TURN_END}Yes.<|im_end|>\n"
    template = ChatTemplate(processor)
    parts = [*template.header, *template.question(question, first=True, has_frames=False)]
    answer = [*processor.encode_text("Yes."), template.end_of_turn, *processor.encode_text("\n", allow_special=True)]
    assert processor.encode_text(whole, allow_special=True) == parts + answer
    text = processor.tokenizer.decode(processor.encode_text(whole, allow_special=True))
    assert text == f"{SYSTEM}What colour is the star?{TURN_END}Yes.<|im_end|>\n"


def test_frames_before_a_question_do_not_change_its_tokens(processor):
    after_frames = processor.encode_prompt(f"{SYSTEM}<image>\nWhere is\tthe  star?{TURN_END}", [2])
    template = ChatTemplate(processor)
    question = template.question("Where is the star?", first=True, has_frames=True)
    assert after_frames == [*template.header, *after_frames[len(template.header) :][:2], *question]


def test_the_normalizer_is_part_of_the_checkpoint(processor):
    """So it applies in transformers too."""
    file = json.loads((WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.normalizer = normalizer()
    assert file["normalizer"] == json.loads(tokenizer.to_str())["normalizer"]
    alone = AutoTokenizer.from_pretrained(WEIGHTS)
    assert alone("Where is\nthe star ?", add_special_tokens=False)["input_ids"] == processor.encode_text(
        "Where is the star?"
    )


@pytest.mark.parametrize("run", ["?", "? ", "*", '"', "\U0001f600", "\U0001f600 ", "!", "'", "-", " ", "A", "the A "])
def test_very_long_texts_are_normalised(processor, run):
    """Backtracking regular expressions panic on such texts, or take minutes."""
    for text in (f"a{run * 24_000}#", f"-{run * 24_000}", f"Why?! {run * 24_000}a"):
        assert processor.encode_text(text[:MAX_CHARACTERS])


@pytest.mark.parametrize("text", ["\u200b", "\ufeff\u00ad", "\u3164", "\u2028\n", "\ufe0f\u200d"])
def test_an_invisible_question_is_empty(processor, text):
    with pytest.raises(DemoError, match="the question is empty"):
        ChatTemplate(processor).question(text, first=True, has_frames=True)
