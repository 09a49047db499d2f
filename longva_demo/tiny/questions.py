"""Questions about what is to be seen, as people type them, and their true answers.

The truth comes from the scene alone. Every maker returns `Asked` triples; which phrasing is taken is by lot.
"""

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

DECLINE = (
    "I am only the small built-in model. I know coloured shapes, digits, letters, some words, "
    "where they are and how they move. I cannot answer this."
)
NOTHING = "There is no such thing here."


@dataclass(frozen=True)
class Asked:
    """A question, its true answer, and the task it belongs to in the evaluation."""

    question: str
    answer: str
    task: str


def reference(rng: random.Random, thing: Thing, things: tuple[Thing, ...], without: str = "") -> str | None:
    """A way to name one thing that no other of `things` answers to; None if there is none.

    `without` is "colour", "shape" or "symbol": what the question asks for and so must not be in the name.
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
    if thing.shape == NO_SHAPE:  # a bare symbol is called by itself
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
    """Letters and words stand in quotes, so that they are told apart from the sentence around them."""
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
    """All there is, cell by cell, if it is not much; otherwise how much there is."""
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
    """Questions on one scene. Makers give None where a question would have no single true answer."""

    def __init__(self, rng: random.Random, scene: Scene) -> None:
        self.rng, self.scene = rng, scene
        self.things = scene.things
        self.shapes = tuple(thing for thing in scene.things if thing.shape != NO_SHAPE)

    def background(self) -> Asked:
        answer = f"The background is {BACKGROUND_NAMES[self.scene.background]}."
        return Asked(phrase(self.rng, "background"), answer, "background")

    def colour(self) -> Asked | None:
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things, "colour")
        if not thing or not name:
            return None
        return Asked(phrase(self.rng, "colour", ref=name), f"It is {COLOUR_NAMES[thing.colour]}.", "colour")

    def shape(self) -> Asked | None:
        thing = self._any(self.shapes)
        name = thing and reference(self.rng, thing, self.things, "shape")
        if not thing or not name:
            return None
        return Asked(phrase(self.rng, "shape", ref=name), f"It is {article(SHAPES[thing.shape])}.", "shape")

    def symbol(self) -> Asked | None:
        marked = tuple(thing for thing in self.shapes if thing.symbol != NO_SYMBOL)
        thing = self._any(marked)
        name = thing and reference(self.rng, thing, self.things, "symbol")
        if not thing or not name:
            return None
        kind = symbol_kind(thing.symbol)
        return Asked(phrase(self.rng, kind, ref=name), symbol_answer(thing.symbol), kind)

    def only_symbol(self) -> Asked | None:
        kind = self.rng.choice(("number", "letter"))
        found = [t for t in self.things if t.symbol != NO_SYMBOL and symbol_kind(t.symbol) == kind]
        if len(found) > 1 or (not found and self.rng.random() < 0.6):
            return None
        if not found:
            return Asked(phrase(self.rng, f"only {kind}"), NOTHING, "missing")
        return Asked(phrase(self.rng, f"only {kind}"), symbol_answer(found[0].symbol), kind)

    def position(self) -> Asked | None:
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things, "place")
        if not thing or not name:
            return None
        return Asked(phrase(self.rng, "position", ref=name), f"It is at the {CELL_NAMES[thing.cell]}.", "position")

    def count_all(self) -> Asked:
        return Asked(phrase(self.rng, "count all"), f"I count {len(self.shapes)}.", "count")

    def count_some(self) -> Asked:
        colours = Counter(thing.colour for thing in self.shapes)
        kinds = Counter(thing.shape for thing in self.shapes)
        if self.rng.random() < 0.5:
            shape = self._pick(kinds, len(SHAPES))
            name, count = plural(SHAPES[shape]), kinds[shape]
        else:
            colour = self._pick(colours, len(COLOUR_NAMES))
            name, count = f"{COLOUR_NAMES[colour]} {self.rng.choice(('shapes', 'things', 'objects'))}", colours[colour]
        return Asked(phrase(self.rng, "count some", ref=name), f"I count {count}.", "count")

    def is_there(self) -> Asked:
        """Yes and no equally often; half of the no's differ from a thing that is there in one part only."""
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
        return Asked(phrase(self.rng, "is there", ref=name), "Yes." if true else "No.", "yes-no")

    def is_symbol_there(self) -> Asked:
        there = [thing.symbol for thing in self.things if thing.symbol != NO_SYMBOL]
        yes = bool(there) and self.rng.random() < 0.5
        symbol = self.rng.choice(there) if yes else self.rng.randrange(len(SYMBOLS))
        name = f"{symbol_kind(symbol)} {SYMBOLS[symbol]}" if self.rng.random() < 0.7 else SYMBOLS[symbol]
        return Asked(phrase(self.rng, "is there", ref=name), "Yes." if symbol in there else "No.", "yes-no symbol")

    def is_it(self) -> Asked | None:
        thing = self._any(self.shapes)
        name = thing and reference(self.rng, thing, self.things, "colour")
        if not thing or not name:
            return None
        colour = thing.colour if self.rng.random() < 0.5 else self.rng.randrange(len(COLOUR_NAMES))
        question = phrase(self.rng, "is it", ref=name, colour=COLOUR_NAMES[colour])
        return Asked(question, "Yes." if colour == thing.colour else "No.", "yes-no")

    def who_has(self) -> Asked | None:
        counts = Counter(thing.symbol for thing in self.things)
        marked = tuple(t for t in self.shapes if t.symbol != NO_SYMBOL and counts[t.symbol] == 1)
        thing = self._any(marked)
        if not thing:
            return None
        slots = {"symbol": SYMBOLS[thing.symbol], "kind": symbol_kind(thing.symbol)}
        if self.rng.random() < 0.3:
            question = phrase(self.rng, "colour of symbol", **slots)
            return Asked(question, f"It is {COLOUR_NAMES[thing.colour]}.", "who has it")
        answer = f"The {COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}."
        return Asked(phrase(self.rng, "who has", **slots), answer, "who has it")

    def about(self) -> Asked | None:
        """All of one thing at once: for a learner the densest question that there is."""
        thing = self._any(self.things)
        name = thing and reference(self.rng, thing, self.things)
        if not thing or not name:
            return None
        text = describe_thing(thing)
        return Asked(phrase(self.rng, "about", ref=name), f"{text[0].upper()}{text[1:]}.", "about")

    def word(self) -> Asked | None:
        if self.scene.sign is None:
            return Asked(phrase(self.rng, "word"), "There is no word.", "missing") if self.rng.random() < 0.15 else None
        return Asked(phrase(self.rng, "word"), word_answer(self.scene.sign.word), "word")

    def is_word_there(self) -> Asked:
        word = self.scene.sign.word if self.scene.sign else -1
        asked = word if word >= 0 and self.rng.random() < 0.5 else self.rng.randrange(len(WORDS))
        question = phrase(self.rng, "is word there", word=WORDS[asked])
        return Asked(question, "Yes." if asked == word else "No.", "yes-no word")

    def word_where(self) -> Asked | None:
        sign = self.scene.sign
        if sign is None:
            return None
        question = phrase(self.rng, "word where", word=WORDS[sign.word])
        return Asked(question, f"It is at the {CELL_NAMES[sign.row * GRID + 1]}.", "position of word")

    def word_at(self) -> Asked | None:
        """Looking a place up is learned early, and with it that words can be read; "what word?" alone never was."""
        sign = self.scene.sign
        if sign is None:
            return None
        question = phrase(self.rng, "word at", place=CELL_NAMES[sign.row * GRID + 1])
        return Asked(question, word_answer(sign.word), "word at a place")

    def missing(self) -> Asked | None:
        """A question about a thing that is not there."""
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
        return Asked(phrase(self.rng, kind, ref=name), NOTHING, "missing")

    def describe(self) -> Asked:
        return Asked(phrase(self.rng, "describe"), describe(self.scene), "description")

    def _any(self, things: tuple[Thing, ...]) -> Thing | None:
        return self.rng.choice(things) if things else None

    def _pick(self, counts: Counter[int], most: int) -> int:
        """Mostly something that is there, sometimes anything."""
        return self.rng.choice(list(counts)) if counts and self.rng.random() < 0.75 else self.rng.randrange(most)


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


def ask_scene(rng: random.Random, scene: Scene, count: int, weights: dict[str, float] | None = None) -> list[Asked]:
    """`count` different questions on a scene, by lot."""
    makers = SceneQuestions(rng, scene)
    weights = weights or SCENE_WEIGHTS
    asked: list[Asked] = []
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
