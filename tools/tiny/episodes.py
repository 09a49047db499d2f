"""Training episodes: how each kind is built, and an endless source that mixes them."""

import random
from dataclasses import dataclass, replace

from longva_demo.tiny.clips import Episode, as_text, colour_change, motion, needles, order, picture, still
from longva_demo.tiny.questions import REFUSAL, QAPair
from longva_demo.tiny.scenes import Mix
from tools.tiny.out_of_scope_questions import non_question, out_of_scope_question, unanswerable_question

SCENES = Mix(count_weights=(0.05, 0.2, 0.24, 0.23, 0.14, 0.09, 0.05), word_share=0.45)
LOOKUP_SCENES = Mix(
    count_weights=(0.0, 0.1, 0.4, 0.3, 0.2), word_share=0, symbol_share=0.6, bare_share=0, large_share=0
)
LOOKUP_QUESTIONS = {"about": 3.0, "colour": 1.0, "symbol": 1.0, "shape": 1.0, "position": 1.0}
MAX_BLANK_FRAMES = 32  # longer clips are too expensive to replace with out-of-scope pictures


@dataclass(frozen=True)
class EpisodeKind:
    """One component of a data mixture: its sampling weight and how its episodes are built.

    batch: episodes per batch.
    num_frames: possible clip lengths; all episodes of a batch have the same length.
    needles: maximum number of needles in a clip; needle_free: share of these clips that contain none.
    rounds: how often questions about needles and order are drawn for one clip.
    skips: share of batches with skipped positions (see `positions`).
    ask: weight of each kind of question about a picture; None for the usual weights.
    as_text: describe the frames in text instead of showing them.
    refused: share of questions that cannot be answered; None for the usual share.
    """

    weight: float
    batch: int
    num_frames: tuple[int, ...] = (1,)
    needles: int = 0
    needle_free: float = 0.0
    questions: int = 6
    rounds: int = 1
    skips: float = 0.3
    mix: Mix = SCENES
    ask: dict[str, float] | None = None
    as_text: bool = False
    refused: float | None = None


Mixture = dict[str, EpisodeKind]


class EpisodeSource:
    """Endless batches of episodes. The same seed gives the same episodes."""

    def __init__(self, seed: int, mixture: Mixture, rank: int = 0) -> None:
        """Processes with different `rank` draw different episodes, but of the same kind at the same step."""
        self.kinds, self.rng, self.mixture = random.Random(seed), random.Random(seed + 77_000 * rank), mixture

    def lookup(self) -> list[Episode]:
        """Scenes with several things, and only questions that look one of them up."""
        return [picture(self.rng, LOOKUP_SCENES, 6, LOOKUP_QUESTIONS) for _ in range(16)]

    def episodes(self) -> tuple[str, list[Episode]]:
        """The name of a randomly drawn kind, and one batch of it."""
        name = self.kinds.choices(list(self.mixture), [kind.weight for kind in self.mixture.values()])[0]
        kind = self.mixture[name]
        num_frames = self.kinds.choice(kind.num_frames)
        made = [self._episode(name, kind, num_frames) for _ in range(kind.batch)]
        return name, [self._with_refusals(as_text(one) if kind.as_text else one, kind.refused) for one in made]

    def _episode(self, name: str, kind: EpisodeKind, num_frames: int) -> Episode:
        if kind.num_frames == (1,):
            return picture(self.rng, kind.mix, kind.questions, kind.ask)
        if kind.needles:
            count = kind.needles if kind.needles < 3 else self.rng.randint(2, kind.needles)
            if kind.needle_free and self.rng.random() < kind.needle_free:
                count = 0
            return needles(self.rng, num_frames, min(count, num_frames // 2), kind.questions, rounds=kind.rounds)
        if name == "bystanders":
            return motion(self.rng, SCENES, num_frames, kind.questions, num_bystanders=(1, 2, 3))
        if name in ("order", "order chat"):
            return order(self.rng, SCENES, num_frames, kind.questions, kind.rounds)
        maker = {"still": still, "still chat": still, "motion": motion, "colour change": colour_change}[name]
        return maker(self.rng, SCENES, num_frames, kind.questions)

    def _with_refusals(self, episode: Episode, share: float | None) -> Episode:
        """Mix in questions to refuse. Without `share`, sometimes replace or drop all frames instead."""
        if share is not None:
            asked = [self._refused() if self.rng.random() < share else one for one in episode.asked]
            return replace(episode, asked=tuple(asked))
        chance = self.rng.random()
        is_short = len(episode.frames) <= MAX_BLANK_FRAMES
        if chance < 0.05 and is_short:
            return Episode((None,) * len(episode.frames), self._all_refused(episode))
        if chance < 0.08 and is_short:
            return Episode((), self._all_refused(episode))
        asked = list(episode.asked)
        for _ in range(1 + len(asked) // 8):  # long conversations get several
            if self.rng.random() < 0.2:
                asked.insert(self.rng.randint(0, len(asked)), self._refused())
        return replace(episode, asked=tuple(asked))

    def _refused(self) -> QAPair:
        make = self.rng.choice((out_of_scope_question, out_of_scope_question, unanswerable_question, non_question))
        return QAPair(make(self.rng), REFUSAL, "refusal")

    def _all_refused(self, episode: Episode) -> tuple[QAPair, ...]:
        asked = [replace(one, answer=REFUSAL, task="refusal") for one in episode.asked]
        asked.insert(0, self._refused())
        self.rng.shuffle(asked)
        return tuple(asked[:2])
