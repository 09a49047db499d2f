"""The stages of the training: what each one trains, on which data, for how long, and what it starts from.

Stages are numbered in training order and named for what they teach. Language-model stages train on scene codes, on the
output of the vision model, or on both.
"""

from dataclasses import dataclass, field, replace

from tools.tiny import mixtures
from tools.tiny.episodes import Mixture
from tools.tiny.train_vision import FrameMix

ISOLATED_SHARE = 0.7


@dataclass(frozen=True)
class VisionStage:
    """A stage of vision tower and projector, on single frames. `about`: its description in docs/tiny.md."""

    steps: int
    seed: int
    lr: float
    about: str
    after: str | None = None
    decay_share: float = 0.9
    frames: FrameMix = field(default_factory=FrameMix)


@dataclass(frozen=True)
class LanguageStage:
    """A stage of the language model. `after` names the stage whose weights it starts from.

    mixture: the training data; empty for scenes with look-up questions alone.
    planned_steps: length of the learning-rate schedule, for stages that were stopped before its end.
    encoded_share: share of clips encoded by the vision model; the others are scene codes.
    vision: the vision stage that encodes them.
    frames_seed: seed of the frame tokens.
    isolated_share: share of batches in which the questions about a clip do not see each other.
    with_word_embeddings, with_symbol_head: see `init_word_embeddings` and `init_symbol_head`.
    added: indices of the layers that this stage adds.
    """

    steps: int
    seed: int
    lr: float
    about: str = ""
    mixture: Mixture = field(default_factory=dict)
    after: str | None = None
    planned_steps: int | None = None
    encoded_share: float = 0.0
    vision: str = "vision-1-scene-codes"
    frames_seed: int = 1
    decay_share: float = 1.0
    isolated_share: float = ISOLATED_SHARE
    with_word_embeddings: bool = False
    with_symbol_head: bool = False
    num_layers: int = 8
    added: tuple[int, ...] = ()


LARGE_THINGS = FrameMix(
    out_of_scope=0.15,
    hard_negatives=0.7,
    shrunk=0.25,
    large=0.6,
    counts=(0.03, 0.3, 0.14, 0.14, 0.14, 0.11, 0.07, 0.04, 0.03),
    bare=0.25,
)
VISION_STAGES: dict[str, VisionStage] = {
    "vision-1-scene-codes": VisionStage(
        5600, 101, 2.5e-3, "tower and projector, degraded single frames against scene codes", decay_share=0.4
    ),
    "vision-2-small-things": VisionStage(
        1500, 1212, 1.5e-3, "smaller things and more black bars", after="vision-1-scene-codes"
    ),
    "vision-3-hard-negatives": VisionStage(
        1000,
        1616,
        1.5e-3,
        "more out-of-scope pictures that resemble the scenes",
        after="vision-2-small-things",
        frames=FrameMix(out_of_scope=0.22, hard_negatives=0.7),
    ),
    "vision-4-large-things": VisionStage(
        2400,
        1717,
        1.8e-3,
        "more large things and bare symbols",
        after="vision-3-hard-negatives",
        frames=LARGE_THINGS,
    ),
    "vision-5-large-things": VisionStage(
        1900, 1919, 1.2e-3, "the same again", after="vision-4-large-things", frames=LARGE_THINGS
    ),
}
LONG_CONVERSATIONS = LanguageStage(
    420,
    2222,
    8e-4,
    "everything, with more long conversations",
    mixtures.LONG_CONVERSATIONS,
    "language-18-refusals",
    encoded_share=0.25,
    vision="vision-5-large-things",
    frames_seed=21,
    decay_share=0.8,
    isolated_share=0.3,
)
LANGUAGE_STAGES: dict[str, LanguageStage] = {
    "language-1-lookup": LanguageStage(
        500,
        202,
        5e-3,
        "scene codes: finding one of several things by its name",
        decay_share=0.0,
        isolated_share=1.0,
        num_layers=4,
    ),
    "language-2-all-clips": LanguageStage(
        1770,
        404,
        4e-3,
        "scene codes and encoded frames, all kinds of clips",
        mixtures.ALL_CLIPS,
        "language-1-lookup",
        planned_steps=6000,
        encoded_share=0.2,
        frames_seed=7,
        decay_share=0.85,
        num_layers=4,
    ),
    "language-3-events": LanguageStage(
        1307,
        505,
        3.6e-3,
        "more events in time",
        mixtures.EVENTS,
        "language-2-all-clips",
        planned_steps=4000,
        encoded_share=0.3,
        frames_seed=8,
        decay_share=0.8,
        with_word_embeddings=True,
        num_layers=4,
    ),
    "language-4-words-and-counts": LanguageStage(
        3000,
        606,
        1.8e-3,
        "batches of words, counts and descriptions alone",
        mixtures.WORDS_AND_COUNTS,
        "language-3-events",
        encoded_share=0.3,
        frames_seed=9,
        num_layers=4,
    ),
    "language-5-colour-changes": LanguageStage(
        1000,
        707,
        1.5e-3,
        "more questions about before and after",
        mixtures.COLOUR_CHANGES,
        "language-4-words-and-counts",
        encoded_share=0.3,
        frames_seed=10,
        num_layers=4,
    ),
    "language-6-short-clips": LanguageStage(
        500,
        808,
        3e-3,
        "two more layers; clips of eight frames",
        mixtures.SHORT_CLIPS,
        "language-5-colour-changes",
        encoded_share=0.2,
        frames_seed=11,
        decay_share=0.0,
        num_layers=6,
        added=(1, 4),
    ),
    "language-7-all-lengths": LanguageStage(
        600,
        909,
        2.2e-3,
        "everything, clips of all lengths",
        mixtures.ALL_LENGTHS,
        "language-6-short-clips",
        planned_steps=5000,
        encoded_share=0.35,
        frames_seed=12,
        num_layers=6,
    ),
    "language-8-words": LanguageStage(
        3800,
        1010,
        1.8e-3,
        "one more layer, with a head that detects words",
        mixtures.WORDS,
        "language-7-all-lengths",
        encoded_share=0.5,
        frames_seed=13,
        num_layers=7,
        added=(0,),
    ),
    "language-9-absence": LanguageStage(
        4000,
        1111,
        1.8e-3,
        "clips and pictures that lack what is asked for",
        mixtures.ABSENCE,
        "language-8-words",
        encoded_share=0.5,
        frames_seed=14,
        decay_share=0.9,
        num_layers=7,
    ),
    "language-10-descriptions": LanguageStage(
        1014,
        1,
        1.8e-3,
        "scene codes: descriptions, and whether a symbol is present",
        mixtures.DESCRIPTIONS,
        "language-9-absence",
        planned_steps=3000,
        decay_share=0.9,
        num_layers=7,
    ),
    "language-11-symbols": LanguageStage(
        200,
        3,
        1.8e-3,
        "scene codes: one more layer, with a head that finds symbols",
        mixtures.SYMBOLS,
        "language-10-descriptions",
        planned_steps=3000,
        decay_share=0.9,
        with_symbol_head=True,
        added=(1,),
    ),
    "language-12-consolidation": LanguageStage(
        2500,
        1313,
        1.8e-3,
        "everything",
        mixtures.CONSOLIDATION,
        "language-11-symbols",
        encoded_share=0.5,
        frames_seed=15,
        decay_share=0.9,
    ),
    "language-13-still-things": LanguageStage(
        700,
        5,
        1.8e-3,
        "scene codes: what moves and what does not",
        mixtures.STILL_THINGS,
        "language-12-consolidation",
        decay_share=0.9,
    ),
    "language-14-motion": LanguageStage(
        2200,
        1414,
        1.8e-3,
        "everything, with more motion",
        mixtures.MOTION,
        "language-13-still-things",
        encoded_share=0.5,
        frames_seed=16,
        decay_share=0.9,
    ),
    "language-15-bystanders": LanguageStage(
        2600,
        1515,
        1.5e-3,
        "more still things beside moving ones",
        mixtures.BYSTANDERS,
        "language-14-motion",
        encoded_share=0.35,
        frames_seed=17,
        decay_share=0.9,
    ),
    "language-16-references": LanguageStage(
        3300,
        1818,
        1.5e-3,
        "more things identified by symbol and position",
        mixtures.REFERENCES,
        "language-15-bystanders",
        encoded_share=0.5,
        vision="vision-3-hard-negatives",
        frames_seed=18,
        decay_share=0.9,
    ),
    "language-17-conversations": LanguageStage(
        180,
        2020,
        1.2e-3,
        "scene codes: long conversations, and texts that are not questions",
        mixtures.CONVERSATIONS,
        "language-16-references",
        frames_seed=19,
        decay_share=0.8,
        isolated_share=0.4,
    ),
    "language-18-refusals": LanguageStage(
        60,
        2121,
        1.5e-3,
        "scene codes: half of the questions in many batches are out of scope",
        mixtures.REFUSALS,
        "language-17-conversations",
        frames_seed=20,
        decay_share=0.8,
        isolated_share=0.8,
    ),
    "language-19a-long-conversations": LONG_CONVERSATIONS,
    "language-19b-long-clips": replace(
        LONG_CONVERSATIONS,
        steps=1300,
        lr=1e-3,
        about="also from stage 18: longer, with more long clips",
        mixture=mixtures.LONG_CLIPS,
        encoded_share=0.4,
    ),
}
STAGES: dict[str, VisionStage | LanguageStage] = {**VISION_STAGES, **LANGUAGE_STAGES}
# Each of these stages counts INTERPOLATION of the way from the weights it started with, as each later vision stage does
# (Wortsman et al., 2021, arXiv 2109.01903). The result has nearly all that the stage taught and forgets nothing.
INTERPOLATED = ("language-16-references", "language-17-conversations")
INTERPOLATION = 0.6
# The last two stages start from the same weights. Their mean is exported, as it makes fewer errors than either
# (Wortsman et al., 2022, arXiv 2203.05482).
AVERAGED = ("language-19a-long-conversations", "language-19b-long-clips")
