"""Clips as lists of scenes, one per frame, with questions about what happens and their answers."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from longva_demo.tiny.phrases import phrase_clip
from longva_demo.tiny.questions import NOTHING, QAPair, ask_scene, describe, reference, symbol_answer, symbol_kind
from longva_demo.tiny.scenes import (
    CELL_NAMES,
    COLOUR_NAMES,
    DIGITS,
    NO_SHAPE,
    NO_SYMBOL,
    SHAPES,
    SYMBOLS,
    VISIBLE_COLOURS,
    Mix,
    Scene,
    Thing,
    paint,
    place,
    random_background,
    random_scene,
    random_symbol,
    random_thing,
)

DIRECTIONS = {"to the right": (1, 0), "to the left": (-1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Episode:
    """Frames (None: an out-of-scope picture) and the questions about them, in order.

    lines: text in place of frames.
    """

    frames: tuple[Scene | None, ...]
    asked: tuple[QAPair, ...]
    lines: tuple[str, ...] = ()


def as_text(episode: Episode) -> Episode:
    """The same episode in text: one line per frame."""
    return Episode((), episode.asked, tuple(describe(scene) for scene in episode.frames if scene is not None))


def picture(rng: random.Random, mix: Mix, questions: int, weights: dict[str, float] | None = None) -> Episode:
    scene = random_scene(rng, mix)
    return Episode((scene,), tuple(ask_scene(rng, scene, questions, weights)))


def still(rng: random.Random, mix: Mix, num_frames: int, questions: int) -> Episode:
    """A clip in which nothing happens. All questions about a picture can be asked about it."""
    scene = random_scene(rng, mix)
    asked = ask_scene(rng, scene, questions)
    if scene.things and rng.random() < 0.6:
        thing = rng.choice(scene.things)
        name = reference(rng, thing, scene.things)
        if name:
            asked += _still_questions(rng, name)
    return Episode((scene,) * num_frames, tuple(asked))


def _still_questions(rng: random.Random, name: str) -> list[QAPair]:
    return [
        QAPair(phrase_clip(rng, "direction", ref=name), "It does not move.", "standing still"),
        QAPair(phrase_clip(rng, "moves", ref=name), "No.", "standing still"),
    ]


def motion(
    rng: random.Random, mix: Mix, num_frames: int, questions: int, num_bystanders: Sequence[int] = (0, 0, 1, 2)
) -> Episode:
    """One thing moves along an axis, sometimes changing its colour on the way. Bystanders do not move.

    num_bystanders: the possible numbers of bystanders; any in the way of the moving thing are left out.
    """
    direction = rng.choice(tuple(DIRECTIONS))
    step_x, step_y = DIRECTIONS[direction]
    scene = random_background(rng)
    mover = random_thing(rng, scene.background, mix)
    far, lane = rng.uniform(0.42, 0.66), rng.uniform(0.18, 0.82)
    begin = rng.uniform(0.16, 0.84 - far)
    begin = begin if step_x + step_y > 0 else 1 - begin
    line, others = int(lane * 3), []
    for cell in rng.sample(range(9), rng.choice(num_bystanders)):
        row, column = divmod(cell, 3)
        if (row if step_x else column) != line:
            others.append(place(rng, random_thing(rng, scene.background, mix), cell, 0.5))
    start_share, end_share = rng.uniform(0, 0.2), rng.uniform(0.8, 1.0)
    new_colour = _other_colour(rng, scene.background, mover.colour) if rng.random() < 0.3 else mover.colour
    new_rgb, switch = paint(rng, new_colour), rng.uniform(0.3, 0.7)
    frames = []
    for index in range(num_frames):
        share = index / max(1, num_frames - 1)
        gone = min(1.0, max(0.0, (share - start_share) / (end_share - start_share))) * far
        x = begin + step_x * gone if step_x else lane
        y = begin + step_y * gone if step_y else lane
        moved = replace(mover, x=x, y=y)
        if share > switch and new_colour != mover.colour:
            moved = replace(moved, colour=new_colour, rgb=new_rgb)
        frames.append(scene.with_things(moved, *others))
    return Episode(tuple(frames), tuple(motion_questions(rng, frames, direction)[:questions]))


def motion_questions(rng: random.Random, frames: Sequence[Scene], direction: str) -> list[QAPair]:
    """About the first thing of the frames, which moves, and its bystanders."""
    first, last = frames[0].things[0], frames[-1].things[0]
    makers = [
        lambda: _about(rng, frames, "direction", f"It moves {direction}.", "direction"),
        lambda: _about(rng, frames, "direction", f"It moves {direction}.", "direction"),
        lambda: _about(rng, frames, "start place", f"It is at the {CELL_NAMES[first.cell]}.", "start place"),
        lambda: _about(rng, frames, "end place", f"It is at the {CELL_NAMES[last.cell]}.", "end place"),
        lambda: _about(rng, frames, "moves", "Yes.", "moves"),
        *_bystander_makers(rng, frames),
        *_change_makers(rng, frames),
        *_constant_makers(rng, frames),
    ]
    return _make_all(rng, makers)


def _bystander_makers(rng: random.Random, frames: Sequence[Scene]) -> list:  # type: ignore[type-arg]
    """Whether and where bystanders move, under names that are unambiguous in every frame."""
    first, last = frames[0].things, frames[-1].things
    names = [reference(rng, bystander, (*first, last[0])) for bystander in first[1:]]
    return [lambda one=one: one for name in names if name for one in _still_questions(rng, name)]


def colour_change(rng: random.Random, mix: Mix, num_frames: int, questions: int) -> Episode:
    """One thing may change its colour somewhere in the middle."""
    scene = random_background(rng)
    cells = rng.sample(range(9), rng.choice((1, 1, 2, 3)))
    things = [place(rng, random_thing(rng, scene.background, mix), cell, 0.6) for cell in cells]
    same = rng.random() < 0.2
    colour = things[0].colour if same else _other_colour(rng, scene.background, things[0].colour)
    changed = things[0] if same else replace(things[0], colour=colour, rgb=paint(rng, colour))
    switch = rng.uniform(0.2, 0.8) * num_frames
    frames = [scene.with_things(things[0] if at < switch else changed, *things[1:]) for at in range(num_frames)]
    frames[-1] = scene.with_things(changed, *things[1:])
    return Episode(tuple(frames), tuple(change_questions(rng, frames)[:questions]))


def change_questions(rng: random.Random, frames: Sequence[Scene]) -> list[QAPair]:
    """About the colours of the first thing of the frames, and about what stays the same."""
    makers = [*_change_makers(rng, frames), *_change_makers(rng, frames)[:2], *_constant_makers(rng, frames)]
    return _make_all(rng, makers)


def order(rng: random.Random, mix: Mix, num_frames: int, questions: int, rounds: int = 1) -> Episode:
    """Two or three things of different shapes, one after the other, sometimes with a pause between them.

    rounds: how often questions are drawn; duplicates are removed.
    """
    scene = random_background(rng)
    count = 2 if num_frames < 6 or rng.random() < 0.6 else 3
    things = []
    for shape in rng.sample(range(len(SHAPES)), count):
        thing = replace(random_thing(rng, scene.background, replace(mix, bare_share=0.0)), shape=shape)
        things.append(place(rng, thing, rng.randrange(9), 0.6))
    cuts = sorted(rng.sample(range(1, num_frames), count - 1))
    pause = rng.random() < 0.3
    frames = []
    for at in range(num_frames):
        part = sum(at >= cut for cut in cuts)
        empty = pause and at in cuts and at + 1 < num_frames and at + 1 not in cuts
        frames.append(scene if empty else scene.with_things(things[part]))
    phases = [scene.with_things(thing) for thing in things]
    return Episode(tuple(frames), distinct(rounds, lambda: order_questions(rng, phases))[:questions])


def distinct(rounds: int, draw_questions: Callable[[], list[QAPair]]) -> tuple[QAPair, ...]:
    """The questions of several draws, without duplicates."""
    return tuple({one.question: one for _ in range(rounds) for one in draw_questions()}.values())


def order_questions(rng: random.Random, phases: Sequence[Scene]) -> list[QAPair]:
    """About consecutive scenes of one thing each: which comes first, and what each is like."""
    asked = _order_questions(rng, [SHAPES[scene.things[0].shape] for scene in phases])
    for scene in rng.sample(phases, len(phases)):
        asked += ask_scene(rng, scene, 1, {"colour": 1, "symbol": 2, "position": 1, "background": 0.3})
    rng.shuffle(asked)
    return [one for one in asked if _holds_in_all_phases(one)]


def _holds_in_all_phases(asked: QAPair) -> bool:
    """Only names by shape are kept: a position or colour may fit the thing of another phase too."""
    words = set(asked.question.lower().rstrip("?.").split())
    return asked.task in ("background", "order") or any(shape in words for shape in SHAPES)


def _order_questions(rng: random.Random, names: list[str]) -> list[QAPair]:
    one, two = sorted(rng.sample(range(len(names)), 2), key=lambda _: rng.random())
    slots = {"one": names[one], "two": names[two]}
    first, last = names[min(one, two)], names[max(one, two)]
    asked = [
        QAPair(phrase_clip(rng, "first shape"), f"The {names[0]}.", "order"),
        QAPair(phrase_clip(rng, "last shape"), f"The {names[-1]}.", "order"),
        QAPair(phrase_clip(rng, "which first", **slots), f"The {first}.", "order"),
        QAPair(phrase_clip(rng, "which last", **slots), f"The {last}.", "order"),
        QAPair(phrase_clip(rng, "is before", **slots), "Yes." if one < two else "No.", "order"),
    ]
    return rng.sample(asked, 3)


def _other_colour(rng: random.Random, background: int, colour: int) -> int:
    return rng.choice([other for other in VISIBLE_COLOURS[background] if other != colour])


def _about(rng: random.Random, frames: Sequence[Scene], kind: str, answer: str, task: str) -> QAPair | None:
    """A question about the first thing of the clip, named by properties that stay the same."""
    thing, others = frames[0].things[0], frames[0].things
    colour_stays = thing.colour == frames[-1].things[0].colour
    same_place = thing.cell == frames[-1].things[0].cell
    if thing.shape == NO_SHAPE:
        return (
            QAPair(phrase_clip(rng, kind, ref=SYMBOLS[thing.symbol]), answer, task)
            if _has_unique_symbol(thing, others)
            else None
        )
    alone = sum(other.shape == thing.shape for other in others) == 1
    if not same_place or not colour_stays:
        names = [SHAPES[thing.shape]] if alone else []
        if colour_stays and sum((o.shape, o.colour) == (thing.shape, thing.colour) for o in others) == 1:
            names.append(f"{COLOUR_NAMES[thing.colour]} {SHAPES[thing.shape]}")
        if colour_stays and sum(other.colour == thing.colour for other in others) == 1:
            names.append(f"{COLOUR_NAMES[thing.colour]} {rng.choice(('thing', 'shape', 'one'))}")
        if len(others) == 1:
            names.append(rng.choice(("shape", "thing", "object")))
        name = rng.choice(names) if names else None
    else:
        name = reference(rng, thing, others)
    return QAPair(phrase_clip(rng, kind, ref=name), answer, task) if name else None


def _has_unique_symbol(thing: Thing, others: Sequence[Thing]) -> bool:
    return sum(other.symbol == thing.symbol for other in others) == 1


def _change_makers(rng: random.Random, frames: Sequence[Scene]) -> list:  # type: ignore[type-arg]
    first, last = frames[0].things[0].colour, frames[-1].things[0].colour
    return [
        lambda: _about(rng, frames, "start colour", f"It is {COLOUR_NAMES[first]}.", "start colour"),
        lambda: _about(rng, frames, "end colour", f"It is {COLOUR_NAMES[last]}.", "end colour"),
        lambda: _about(rng, frames, "changes", "Yes." if first != last else "No.", "changes"),
    ]


def _constant_makers(rng: random.Random, frames: Sequence[Scene]) -> list:  # type: ignore[type-arg]
    """Questions with the same answer in every frame: shapes, symbols, counts, background."""
    thing, background = frames[0].things[0], frames[0].background
    weights = {"background": 1.0, "count_all": 1.0}
    makers = [lambda: next(iter(ask_scene(rng, frames[0], 1, weights)), None)]
    still_things = Scene(background, frames[0].things[1:])
    if still_things.things and all(other.shape != thing.shape for other in still_things.things):
        makers.append(lambda: next((one for one in ask_scene(rng, still_things, 1, {"symbol": 1.0, "colour": 1.0})
                                    if any(shape in one.question for shape in SHAPES)), None))  # fmt: skip
    if thing.symbol != NO_SYMBOL and thing.shape != NO_SHAPE:
        kind = symbol_kind(thing.symbol)
        which = "needle" if kind == "number" else "needle letter"
        makers.append(lambda: _about(rng, frames, which, symbol_answer(thing.symbol), kind))
    return makers


def _make_all(rng: random.Random, makers: list) -> list[QAPair]:  # type: ignore[type-arg]
    rng.shuffle(makers)
    asked: list[QAPair] = []
    for maker in makers:
        made = maker()
        if made is not None and all(made.question != other.question for other in asked):
            asked.append(made)
    return asked


def haystack(rng: random.Random, num_frames: int) -> list[Scene]:
    """Frames without digits: shots of one or more frames, empty or with things, a quarter of haystacks with letters."""
    frames: list[Scene] = []
    long_shots = rng.random() < 0.5
    plain_share, letters = rng.random(), rng.random() < 0.25
    mix = Mix(symbol_share=0.4 if letters else 0.0, bare_share=0.0, letter_share=1.0, word_share=0.1)
    while len(frames) < num_frames:
        length = rng.randint(1, max(1, num_frames // 2)) if long_shots else rng.randint(1, 4)
        scene = random_background(rng) if rng.random() < plain_share else random_scene(rng, mix)
        frames += [scene] * length
    return frames[:num_frames]


def needle_scene(rng: random.Random, shape: int, colour: int, symbol: int) -> Scene:
    """A scene with one thing that carries a symbol, and sometimes one or two without."""
    while True:
        scene = random_background(rng)
        if colour in VISIBLE_COLOURS[scene.background]:
            break
    marked = Mix(symbol_share=1.0, bare_share=0.0)
    cells = rng.sample(range(9), rng.choice((1, 1, 1, 2, 3)))
    thing = replace(random_thing(rng, scene.background, marked), shape=shape, colour=colour, symbol=symbol)
    thing = replace(thing, rgb=paint(rng, colour))
    if len(cells) == 1 and rng.random() < 0.4:
        thing = replace(thing, radius=rng.uniform(0.17, 0.32))
    unmarked = Mix(symbol_share=0.0, bare_share=0.0)
    others = [place(rng, random_thing(rng, scene.background, unmarked), cell, 0.5) for cell in cells[1:]]
    return scene.with_things(place(rng, thing, cells[0], 0.6), *others)


def needles(
    rng: random.Random, num_frames: int, count: int, questions: int, letter_share: float = 0.15, rounds: int = 1
) -> Episode:
    """A haystack with `count` needles: frames, or runs of two, that show a symbol. One question per needle.

    rounds: as in `order`.
    """
    frames: list[Scene] = haystack(rng, num_frames)
    pairs = rng.sample([(shape, colour) for shape in range(len(SHAPES)) for colour in range(len(COLOUR_NAMES))], count)
    found: list[tuple[int, int, int]] = []
    for (shape, colour), at in zip(pairs, rng.sample(range(num_frames), count), strict=True):
        symbol = random_symbol(rng, letter_share if count > 1 else 0.0)
        scene = needle_scene(rng, shape, colour, symbol)
        frames[at] = scene
        found.append((shape, colour, symbol))
        if count <= max(2, num_frames // 24) and at + 1 < num_frames and rng.random() < 0.4:
            frames[at + 1] = scene
    visible = {(t.shape, t.colour, t.symbol) for scene in frames for t in scene.things if t.symbol < len(DIGITS)}
    found = [one for one in found if one in visible or one[2] >= len(DIGITS)]
    return Episode(tuple(frames), distinct(rounds, lambda: needle_questions(rng, found, frames))[:questions])


def needle_questions(rng: random.Random, found: list[tuple[int, int, int]], frames: Sequence[Scene]) -> list[QAPair]:
    """About needles (shape, colour, symbol), each of which appears once in the frames."""
    shapes, colours = Counter(one[0] for one in found), Counter(one[1] for one in found)
    symbols = Counter(one[2] for one in found)
    asked: list[QAPair] = []
    for shape, colour, symbol in rng.sample(found, len(found)):
        names = [f"{COLOUR_NAMES[colour]} {SHAPES[shape]}"] * 2
        names += [SHAPES[shape]] * (shapes[shape] == 1) + [f"{COLOUR_NAMES[colour]} shape"] * (colours[colour] == 1)
        is_digit = symbol < len(DIGITS)
        task = "needle" if is_digit else "needle letter"
        if is_digit and symbols[symbol] == 1 and rng.random() < 0.15:
            answer = f"The {COLOUR_NAMES[colour]} {SHAPES[shape]}."
            asked.append(QAPair(phrase_clip(rng, "needle shape", symbol=SYMBOLS[symbol]), answer, "needle shape"))
            continue
        question = phrase_clip(rng, task, ref=rng.choice(names))
        asked.append(QAPair(question, symbol_answer(symbol), task))
    digits = [one for one in found if one[2] < len(DIGITS)]
    if len(digits) == 1:
        answer = symbol_answer(digits[0][2])
        asked.insert(rng.randint(0, len(asked)), QAPair(phrase_clip(rng, "only needle"), answer, "needle"))
    if not digits and rng.random() < 0.7:
        asked.append(QAPair(phrase_clip(rng, "only needle"), NOTHING, "missing"))
    if not digits or rng.random() < 0.12:
        there = {(shape, colour) for shape, colour, _ in found}
        shape, colour = rng.randrange(len(SHAPES)), rng.randrange(len(COLOUR_NAMES))
        if (shape, colour) not in there:
            question = phrase_clip(rng, "needle", ref=f"{COLOUR_NAMES[colour]} {SHAPES[shape]}")
            asked.insert(rng.randint(0, len(asked)), QAPair(question, NOTHING, "missing"))
    if rng.random() < 0.25:
        symbol = rng.randrange(len(DIGITS))
        if digits and rng.random() < 0.5:
            symbol = rng.choice(digits)[2]
        there_too = any(t.symbol == symbol for scene in frames for t in scene.things)
        question = phrase_clip(rng, "needle there", symbol=SYMBOLS[symbol])
        asked.insert(rng.randint(0, len(asked)), QAPair(question, "Yes." if there_too else "No.", "needle there"))
    return asked
