"""Accuracy early and late in long conversations: twenty questions about each clip of the gallery.

    python -m tools.tiny.chat_check    # the share of correct answers by position in the conversation

The questions and their answers come from the scenes of the clip; two of the twenty should be refused. They are asked
through `ChatSession`, as on the page.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from longva_demo.tiny.clips import change_questions, motion_questions, needle_questions, order_questions
from longva_demo.tiny.questions import QAPair, ask_scene
from longva_demo.tiny.scenes import NO_SYMBOL, Scene
from tools.tiny.check_examples import gallery_session, greedy_answer
from tools.tiny.evaluate import scene_question
from tools.tiny.gallery import EXAMPLES, Example, refused
from tools.tiny.make_examples import FOLDER
from tools.tiny.out_of_scope_questions import non_question, out_of_scope_question, unanswerable_question

LENGTH, PART, CHATS = 20, 5, 3  # questions per conversation; questions per column; conversations per clip
CHAT_SEED = 9_500_000


def _needle_questions(rng: random.Random, phases: tuple[Scene, ...]) -> list[QAPair]:
    [needle] = {(t.shape, t.colour, t.symbol) for scene in phases for t in scene.things if t.symbol != NO_SYMBOL}
    return needle_questions(rng, [needle], phases)


# Questions about clips with events. The other clips get the questions of a single picture.
IN_TIME: dict[str, Callable[[random.Random, tuple[Scene, ...]], list[QAPair]]] = {
    "motion": lambda rng, phases: motion_questions(rng, phases, "to the right"),
    "change": change_questions,
    "needle": _needle_questions,
    "long": _needle_questions,
    "order": order_questions,
}


def questions_on(rng: random.Random, example: Example) -> Iterable[QAPair]:
    """Randomly drawn questions, different on each call."""
    if example.name in IN_TIME:
        return IN_TIME[example.name](rng, example.phases)
    if example.phases:
        return ask_scene(rng, example.phases[0], LENGTH)
    return refused(scene_question(rng), out_of_scope_question(rng))


def conversation(rng: random.Random, example: Example) -> list[QAPair]:
    """LENGTH distinct questions in random order: the gallery's own, others about the clip, and two to refuse."""
    chosen = {one.question: one for one in example.asked}
    while len(chosen) < LENGTH - 2:
        chosen.update((one.question, one) for one in questions_on(rng, example))
    asked = [*chosen.values()][: LENGTH - 2]
    asked += refused(non_question(rng), unanswerable_question(rng))
    rng.shuffle(asked)
    return asked


def right_in_turn(example: Example, asked: list[QAPair], folder: Path = FOLDER) -> list[bool]:
    """Whether each answer of one conversation is correct."""
    session = gallery_session(folder / example.file, example.num_frames)
    right = [greedy_answer(session, one.question) == one.answer for one in asked]
    session.close()
    return right


def main() -> None:
    right: Counter[tuple[str, int]] = Counter()
    names = []
    for build in EXAMPLES:
        example = build()
        names.append(example.name)
        for number in range(CHATS):
            asked = conversation(random.Random(CHAT_SEED + number), example)
            for at, is_right in enumerate(right_in_turn(example, asked)):
                right[example.name, at // PART] += is_right
    parts = range(LENGTH // PART)
    print("| clip | " + " | ".join(f"{part * PART + 1}–{(part + 1) * PART}" for part in parts) + " | all |")
    print("|---|" + "---|" * (len(parts) + 1))
    for name, some in [*((name, [name]) for name in names), ("all", names)]:
        counts = [sum(right[one, part] for one in some) for part in parts]
        asked_count = len(some) * CHATS * PART
        cells = [*(count / asked_count for count in counts), sum(counts) / asked_count / len(parts)]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
