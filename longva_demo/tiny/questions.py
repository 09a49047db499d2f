"""Questions about scenes, as people type them, with answers that come from the scene. Phrasings are drawn at random."""

import random
from collections import Counter
from dataclasses import dataclass

from longva_demo.tiny.phrases import article, phrase
from longva_demo.tiny.scenes import (
    BACKGROUND_NAMES,
    CELL_NAMES,
    COLOUR_NAMES,
    DIGITS,
    GRID,
    NO_SHAPE,
    NO_SYMBOL,
    SHAPES,
    SYMBOLS,
    WORDS,
    Scene,
    Thing,
)

REFUSAL = (
    "I am only the small built-in model. I know coloured shapes, digits, letters, some words, "
    "where they are and how they move. I cannot answer this."
)
NOTHING = "There is no such thing here."


@dataclass(frozen=True)
class QAPair:
    """A question, its answer, and its task in the evaluation."""

    question: str
    answer: str
    task: str


def reference(rng: random.Random, thing: Thing, things: tuple[Thing, ...], without: str = "") -> str | None:
    """A name that fits one thing and no other of `things`; None if there is none.

    without: "colour", "shape", "symbol" or "place", whatever the question asks for; the name does not contain it.
    """
    ways = ["shape", "shape", "colour", "colour", "both", "both", "symbol", "place"]
    rng.shuffle(ways)
    for way in ways:
        name = _name(rng, thing, way, without)
        if name and sum(_name(random.Random(0), other, way, without) is not None and _same(thing, other, way)
                        for other in things) == 1:  # fmt: skip
            return name
    return None


def _same(one: Thing, other: Thing, way: str) -> bool:
    if way == "shape":
        return one.shape == other.shape
    if way == "colour":
        return one.colour == other.colour
    if way == "both":
        return (one.shape, one.colour) == (other.shape, other.colour)
    if way == "symbol":
        return one.symbol == other.symbol
    return one.cell == other.cell


def _name(rng: random.Random, thing: Thing, way: str, without: str) -> str | None:
    if thing.shape == NO_SHAPE:  # a bare symbol is its own name
        if without == "symbol" or without == "shape" or way not in ("symbol", "shape"):
            return None
        return SYMBOLS[thing.symbol] if way == "symbol" else None
    shape, colour = SHAPES[thing.shape], COLOUR_NAMES[thing.colour]
    if way == "shape" and without != "shape":
        return shape
    if way == "colour" and without != "colour":
        return f"{colour} {rng.choice(('shape', 'thing', 'one', 'object'))}"
    if way == "both" and without not in ("colour", "shape"):
        return f"{colour} {shape}"
    if way == "symbol" and without != "symbol" and thing.symbol != NO_SYMBOL:
        return f"{rng.choice(('shape', 'thing', 'one'))} with {rng.choice(('', 'the '))}{SYMBOLS[thing.symbol]}"
    if way == "place" and without != "place":
        where = CELL_NAMES[thing.cell]
        return f"{rng.choice(('shape', 'thing', 'one'))} at the {where}"
    return None


def symbol_kind(symbol: int) -> str:
    return "number" if symbol < len(DIGITS) else "letter"


def symbol_answer(symbol: int) -> str:
    """Letters and words are quoted, to separate them from the sentence."""
    return f"The number is {SYMBOLS[symbol]}." if symbol < len(DIGITS) else f'The letter is "{SYMBOLS[symbol]}".'


def word_answer(word: int) -> str:
    return f'The word is "{WORDS[word]}".'


def describe_thing(thing: Thing) -> str:
    if thing.shape == NO_SHAPE:
        return f"{article(COLOUR_NAMES[thing.colour])} {SYMBOLS[thing.symbol]} at the {CELL_NAMES[thing.cell]}"
    text = f"{article(COLOUR_NAMES[thing.colour])} {SHAPES[thing.shape]}"
    if thing.symbol != NO_SYMBOL:
        text += f" with {SYMBOLS[thing.symbol]}"
    return f"{text} at the {CELL_NAMES[thing.cell]}"


def describe(scene: Scene) -> str:
    """Up to three things, cell by cell; of more, only the number."""
    parts = [describe_thing(thing) for thing in sorted(scene.things, key=lambda thing: thing.cell)]
    if scene.sign is not None:
        parts.append(f"the word {WORDS[scene.sign.word]}")
    where = f"on a {BACKGROUND_NAMES[scene.background]} background."
    if not parts:
        return f"I see nothing {where}"
    if len(parts) > 3:
        return f"I see {len(scene.things)} things {where}"
    return f"I see {', '.join(parts)} {where}"


class SceneQuestions:
    """Questions about one scene. Methods return None if a question would have no single correct answer."""

    def __init__(self, rng: random.Random, scene: Scene) -> None:
        self.rng, self.scene = rng, scene
        self.things = scene.things
        self.shapes = tuple(thing for thing in scene.things if thing.shape != NO_SHAPE)

    def background(self) -> QAPair:
        answer = f"The background is {BACKGROUND_NAMES[self.scene.background]}."
        return QAPair(phrase(self.rng, "background"), answer, "background")

    def colour(self) -> QAPair | None:
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things, "colour")
        if not thing or not name:
            return None
        return QAPair(phrase(self.rng, "colour", ref=name), f"It is {COLOUR_NAMES[thing.colour]}.", "colour")

    def shape(self) -> QAPair | None:
        thing = self._any(self.shapes)
        name = thing and reference(self.rng, thing, self.things, "shape")
        if not thing or not name:
            return None
        return QAPair(phrase(self.rng, "shape", ref=name), f"It is {article(SHAPES[thing.shape])}.", "shape")

    def symbol(self) -> QAPair | None:
        marked = tuple(thing for thing in self.shapes if thing.symbol != NO_SYMBOL)
        thing = self._any(marked)
        name = thing and reference(self.rng, thing, self.things, "symbol")
        if not thing or not name:
            return None
        kind = symbol_kind(thing.symbol)
        return QAPair(phrase(self.rng, kind, ref=name), symbol_answer(thing.symbol), kind)

    def only_symbol(self) -> QAPair | None:
        kind = self.rng.choice(("number", "letter"))
        found = [t for t in self.things if t.symbol != NO_SYMBOL and symbol_kind(t.symbol) == kind]
        if len(found) > 1 or (not found and self.rng.random() < 0.6):
            return None
        if not found:
            return QAPair(phrase(self.rng, f"only {kind}"), NOTHING, "missing")
        return QAPair(phrase(self.rng, f"only {kind}"), symbol_answer(found[0].symbol), kind)

    def position(self) -> QAPair | None:
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things, "place")
        if not thing or not name:
            return None
        return QAPair(phrase(self.rng, "position", ref=name), f"It is at the {CELL_NAMES[thing.cell]}.", "position")

    def count_all(self) -> QAPair:
        return QAPair(phrase(self.rng, "count all"), f"I count {len(self.shapes)}.", "count")

    def count_some(self) -> QAPair:
        colours = Counter(thing.colour for thing in self.shapes)
        kinds = Counter(thing.shape for thing in self.shapes)
        if self.rng.random() < 0.5:
            shape = self._pick(kinds, len(SHAPES))
            name, count = plural(SHAPES[shape]), kinds[shape]
        else:
            colour = self._pick(colours, len(COLOUR_NAMES))
            name, count = f"{COLOUR_NAMES[colour]} {self.rng.choice(('shapes', 'things', 'objects'))}", colours[colour]
        return QAPair(phrase(self.rng, "count some", ref=name), f"I count {count}.", "count")

    def is_there(self) -> QAPair:
        """Yes and no are equally likely. In half of the no's, only shape or colour differs from a thing there."""
        yes = bool(self.shapes) and self.rng.random() < 0.5
        if yes:
            thing = self.rng.choice(self.shapes)
            shape, colour = thing.shape, thing.colour
        else:
            near = self._any(self.shapes)
            shape, colour = self.rng.randrange(len(SHAPES)), self.rng.randrange(len(COLOUR_NAMES))
            if near and self.rng.random() < 0.5:
                shape, colour = (near.shape, colour) if self.rng.random() < 0.5 else (shape, near.colour)
        way = self.rng.choice(("shape", "colour", "both", "both"))
        name = {
            "shape": SHAPES[shape],
            "colour": f"{COLOUR_NAMES[colour]} {self.rng.choice(('shape', 'thing', 'object'))}",
            "both": f"{COLOUR_NAMES[colour]} {SHAPES[shape]}",
        }[way]
        true = any(
            (way == "colour" or other.shape == shape) and (way == "shape" or other.colour == colour)
            for other in self.shapes
        )
        return QAPair(phrase(self.rng, "is there", ref=name), "Yes." if true else "No.", "yes-no")

    def is_symbol_there(self) -> QAPair:
        there = [thing.symbol for thing in self.things if thing.symbol != NO_SYMBOL]
        yes = bool(there) and self.rng.random() < 0.5
        symbol = self.rng.choice(there) if yes else self.rng.randrange(len(SYMBOLS))
        name = f"{symbol_kind(symbol)} {SYMBOLS[symbol]}" if self.rng.random() < 0.7 else SYMBOLS[symbol]
        return QAPair(phrase(self.rng, "is there", ref=name), "Yes." if symbol in there else "No.", "yes-no symbol")

    def is_it(self) -> QAPair | None:
        thing = self._any(self.shapes)
        name = thing and reference(self.rng, thing, self.things, "colour")
        if not thing or not name:
            return None
        colour = thing.colour if self.rng.random() < 0.5 else self.rng.randrange(len(COLOUR_NAMES))
        question = phrase(self.rng, "is it", ref=name, colour=COLOUR_NAMES[colour])
        return QAPair(question, "Yes." if colour == thing.colour else "No.", "yes-no")

    def who_has(self) -> QAPair | None:
        counts = Counter(thing.symbol for thing in self.things)
        marked = tuple(t for t in self.shapes if t.symbol != NO_SYMBOL and counts[t.symbol] == 1)
        thing = self._any(marked)
        if not thing:
            return None
        slots = {"symbol": SYMBOLS[thing.symbol], "kind": symbol_kind(thing.symbol)}
        if self.rng.random() < 0.3:
            question = phrase(self.rng, "colour of symbol", **slots)
            return QAPair(question, f"It is {COLOUR_NAMES[thing.colour]}.", "who has it")
        answer = f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}."
        return QAPair(phrase(self.rng, "who has", **slots), answer, "who has it")

    def about(self) -> QAPair | None:
        """All properties of one thing: the most informative question in training."""
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things)
        if not thing or not name:
            return None
        text = describe_thing(thing)
        return QAPair(phrase(self.rng, "about", ref=name), f"{text[0].upper()}{text[1:]}.", "about")

    def word(self) -> QAPair | None:
        if self.scene.sign is None:
            return (
                QAPair(phrase(self.rng, "word"), "There is no word.", "missing") if self.rng.random() < 0.15 else None
            )
        return QAPair(phrase(self.rng, "word"), word_answer(self.scene.sign.word), "word")

    def is_word_there(self) -> QAPair:
        word = self.scene.sign.word if self.scene.sign else -1
        asked = word if word >= 0 and self.rng.random() < 0.5 else self.rng.randrange(len(WORDS))
        question = phrase(self.rng, "is word there", word=WORDS[asked])
        return QAPair(question, "Yes." if asked == word else "No.", "yes-no word")

    def word_where(self) -> QAPair | None:
        sign = self.scene.sign
        if sign is None:
            return None
        question = phrase(self.rng, "word where", word=WORDS[sign.word])
        return QAPair(question, f"It is at the {CELL_NAMES[sign.row * GRID + 1]}.", "position of word")

    def word_at(self) -> QAPair | None:
        """Look-up by position is learned early, and with it reading. From "what word?" alone, it never was."""
        sign = self.scene.sign
        if sign is None:
            return None
        question = phrase(self.rng, "word at", place=CELL_NAMES[sign.row * GRID + 1])
        return QAPair(question, word_answer(sign.word), "word at a place")

    def missing(self) -> QAPair | None:
        """A question about a thing that the scene lacks."""
        there = {(thing.shape, thing.colour) for thing in self.shapes}
        shape, colour = self.rng.randrange(len(SHAPES)), self.rng.randrange(len(COLOUR_NAMES))
        if any(shape == other for other, _ in there):
            if (shape, colour) in there:
                return None
            name = f"{COLOUR_NAMES[colour]} {SHAPES[shape]}"
        else:
            name = SHAPES[shape]
        kind = self.rng.choice(("colour", "number", "letter", "position", "position"))
        if kind == "colour" and " " in name:
            return None
        return QAPair(phrase(self.rng, kind, ref=name), NOTHING, "missing")

    def describe(self) -> QAPair:
        return QAPair(phrase(self.rng, "describe"), describe(self.scene), "description")

    def _any(self, things: tuple[Thing, ...]) -> Thing | None:
        return self.rng.choice(things) if things else None

    def _pick(self, counts: Counter[int], count: int) -> int:
        """Mostly a value that occurs in the scene, sometimes any value below `count`."""
        return self.rng.choice(list(counts)) if counts and self.rng.random() < 0.75 else self.rng.randrange(count)


def plural(shape: str) -> str:
    return f"{shape}es" if shape == "cross" else f"{shape}s"


SCENE_WEIGHTS = {
    "background": 0.8,
    "colour": 2.0,
    "shape": 2.2,
    "symbol": 3.0,
    "only_symbol": 0.8,
    "position": 2.0,
    "count_all": 1.6,
    "count_some": 2.2,
    "is_there": 1.6,
    "is_symbol_there": 1.0,
    "is_it": 0.8,
    "who_has": 1.2,
    "about": 1.5,
    "word": 4.0,
    "word_at": 2.0,
    "is_word_there": 0.6,
    "word_where": 0.8,
    "missing": 0.9,
    "describe": 0.9,
}


def ask_scene(rng: random.Random, scene: Scene, count: int, weights: dict[str, float] | None = None) -> list[QAPair]:
    """Up to `count` distinct questions about a scene, drawn at random."""
    makers = SceneQuestions(rng, scene)
    weights = weights or SCENE_WEIGHTS
    asked: list[QAPair] = []
    for _ in range(6 * count):
        name = rng.choices(list(weights), list(weights.values()))[0]
        made = getattr(makers, name)()
        if made is not None and made.question not in {one.question for one in asked}:
            once = made.task in ("background", "word", "description")
            if not once or made.task not in {one.task for one in asked}:
                asked.append(made)
        if len(asked) == count:
            break
    return asked
