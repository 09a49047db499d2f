"""Questions that the bundled model should refuse, and texts that are not questions."""

import random
from collections.abc import Callable

from longva_demo.tiny.scenes import COLOUR_NAMES, DIGITS, LETTERS, SHAPES

THINGS = (
    *("dog", "cat", "person", "man", "woman", "child", "bird", "horse", "house", "tree", "table", "chair", "phone"),
    *("bicycle", "boat", "train", "plane", "ball", "book", "cup", "hand", "face", "hat", "river", "mountain", "street"),
    *("computer", "guitar", "elephant", "camera", "bottle", "lamp", "door", "window", "flower", "shoe", "knife", "bag"),
)
DOINGS = (
    *("doing", "saying", "eating", "holding", "wearing", "thinking", "playing", "cooking", "reading", "looking at"),
    *("singing", "driving", "building", "drinking", "watching", "feeling", "writing", "carrying", "selling"),
)
NAMES = (
    *("France", "Japan", "Brazil", "Egypt", "Paris", "London", "the moon", "Mozart", "the world", "the ocean"),
    *("history", "football", "quantum physics", "the economy", "the internet", "chess", "Rome", "India", "Mars"),
)
FORMS = (
    *("What is the {thing} {doing}?", "Is there a {thing}?", "Do you see a {thing}?", "How many {thing}s are there?"),
    *("Where is the {thing}?", "What colour is the {thing}?", "Who is the {thing}?", "Is the {thing} {doing}?"),
    *("Why is the {thing} {doing}?", "What is the capital of {name}?", "Tell me about {name}.", "Who won in {name}?"),
    *("Write a poem about {name}.", "Write a story about a {thing}.", "What is {number} plus {number}?"),
    *(
        "Explain {name}.",
        "Translate this into {language}.",
        "What is the weather in {name}?",
        "How old is the {thing}?",
    ),
    *("What time is it?", "What day is it?", "Who are you?", "What can you do?", "Hello", "Hi", "Hi there!", "help"),
    *("Hello, how are you?", "What is your name?", "Tell me a joke.", "Who made you?", "Thank you", "ok", "test"),
    *("Are you a robot?", "What model are you?", "What do you know?", "Summarise the video.", "What happens?"),
    *("What is this video about?", "Is this video funny?", "Who is the actor?", "What language is spoken?"),
    *("What is the mood of the scene?", "Where was this filmed?", "What year is this?", "What is the person {doing}?"),
    *("How does {name} work?", "Give me a recipe with {thing}.", "What brand is the {thing}?", "Is it raining?"),
    *("What is the score?", "Which team wins?", "What is the title of this film?", "Is the {thing} made of wood?"),
    *("How much does a {thing} cost?", "Who is speaking?", "What do people say?", "Can you hear music?"),
    *("Does the {thing} look happy?", "What will happen next?", "Please help me with {name}.", "What is {name}?"),
    *(
        "{thing}?",
        "{name}?",
        "Describe the {thing}.",
        "What is behind the {thing}?",
        "Is the {thing} near the {thing}?",
    ),
)
LANGUAGES = ("French", "German", "Chinese", "Spanish", "Dutch")
SYLLABLES = ("ba", "ko", "ri", "ten", "mo", "sha", "lu", "pre", "ing", "gra", "est", "vi", "ou", "nd", "fe", "zi")


def out_of_scope_question(rng: random.Random) -> str:
    """A question that has nothing to do with scenes, sometimes with an invented word."""
    thing = rng.choice(THINGS)
    if rng.random() < 0.2:
        thing = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))
    text = rng.choice(FORMS).format(
        thing=thing,
        doing=rng.choice(DOINGS),
        name=rng.choice(NAMES),
        number=rng.randrange(100),
        language=rng.choice(LANGUAGES),
    )
    if rng.random() < 0.3:
        text = text.lower()
    return text.rstrip("?.") if rng.random() < 0.2 else text


# Questions about known things that frames cannot answer, since they have no times and no scale.
UNANSWERABLE = (
    *(
        "When does the {one} appear?",
        "When does the {one} come?",
        "When is the {one} there?",
        "When can I see the {one}?",
    ),
    *(
        "When does the {one} disappear?",
        "When does the {one} move?",
        "When does the {one} stop?",
        "When is it {colour}?",
    ),
    *("When does the {one} change its colour?", "When does the number appear?", "When does the {colour} {one} appear?"),
    *("At what time does the {one} appear?", "At which second does the {one} come?", "How long is the {one} there?"),
    *("How long does the {one} stay?", "How many seconds is the {one} there?", "Since when is the {one} there?"),
    *("How fast does the {one} move?", "How big is the {one}?", "How heavy is the {one}?", "How old is the {one}?"),
    *(
        "How far is the {one} from the {two}?",
        "Is the {one} bigger than the {two}?",
        "Which is bigger, {one} or {two}?",
    ),
    *("Why is the {one} {colour}?", "Why does the {one} move?", "Why is there a {one}?", "Who drew the {one}?"),
    *("Who put the {one} there?", "What is the {one} made of?", "What does the {one} mean?", "Do you like the {one}?"),
    *("Whose is the {one}?", "How much is the {colour} {one}?", "Is the {one} happy?", "When?", "Why?", "Who?", "How?"),
)
MARKS = "?.!,;:-_/*#+=()<>&%$@~^|"
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SCRIPTS = ((0x1F300, 0x1F64F), (0x2600, 0x26FF), (0x4E00, 0x9FA5), (0x410, 0x44F), (0x391, 0x3C9), (0x620, 0x64A))
SCRAPS = (
    *("hm", "hmm", "lol", "haha", "yes", "no", "the", "a", "is", "and", "so", "well", "please", "thanks", "bye", "wow"),
    *("aaa", "abc", "xyz", "foo", "bar", "null", "nan", "true", "what", "which one", "it", "why not", "more", "again"),
)


def unanswerable_question(rng: random.Random) -> str:
    one, two = rng.sample(SHAPES, 2)
    return rng.choice(UNANSWERABLE).format(one=one, two=two, colour=rng.choice(COLOUR_NAMES))


def _marks(rng: random.Random) -> str:
    return "".join(rng.choices(MARKS, k=rng.randint(1, 3))) if rng.random() < 0.5 else rng.choice("?.!") * 3


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.randint(1, 5)))


def _symbol(rng: random.Random) -> str:
    return rng.choice(DIGITS + LETTERS) + rng.choice(("", "", "?", "."))


def _mashed(rng: random.Random) -> str:
    row = rng.choice(KEYS)
    at = rng.randrange(len(row) - 3)
    return row[at : at + rng.randint(3, 6)] if rng.random() < 0.5 else "".join(rng.choices(row, k=rng.randint(3, 9)))


def _foreign(rng: random.Random) -> str:
    """Letters of other scripts, or emoji."""
    first, last = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8))) + rng.choice(("", "?"))


def _scrap(rng: random.Random) -> str:
    return rng.choice(SCRAPS) + rng.choice(("", "", "?", "."))


NON_QUESTIONS: tuple[Callable[[random.Random], str], ...] = (_marks, _number, _symbol, _mashed, _foreign, _scrap)


def non_question(rng: random.Random) -> str:
    """Punctuation, numbers, letters, random keys, other scripts, single words."""
    return rng.choice(NON_QUESTIONS)(rng)
