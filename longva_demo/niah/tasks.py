"""V-NIAH and its successors: what is hidden, where, and what is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from longva_demo.errors import DemoError
from longva_demo.niah.drawn import RESERVED, drawn_clips, drawn_counts, drawn_needles, drawn_orders
from longva_demo.niah.grid import Grid
from longva_demo.niah.hiding import Hide, at_depth, spread_evenly, with_distractors, within_window
from longva_demo.niah.lines import among_lines, line_needles
from longva_demo.niah.needle import Needle, groups
from longva_demo.niah.needles import ANNOTATIONS, PUBLISHED_NEEDLES, load_needles

VERSION = 1  # increment if a seed hides or asks something else, so that results are not mixed
MIDDLE = 0.5  # the only depth of what is spread over the whole haystack


class Kind(StrEnum):
    """The published tests.

    NEEDLE: V-NIAH, one picture (arXiv 2406.16852).
    DISTRACTORS: V-NIAH-D, one picture and near misses of it (arXiv 2502.05173).
    SEVERAL, COUNT, ORDER: V-RULER, several pictures; all must be found, counted, or put in order (VideoRoPE++, in
        videorope_plus/v_ruler of github.com/Wiselnn570/VideoRoPE).
    CLIPS: TimeScope, a clip of 5 to 10 seconds (huggingface.co/blog/timescope-video-lmm-benchmark).
    LINES: a line of subtitles; VNBench (arXiv 2406.09367) draws its needles of text on the frames.
    """

    NEEDLE = "V-NIAH"
    DISTRACTORS = "V-NIAH-D"
    SEVERAL = "V-RULER, several needles"
    COUNT = "V-RULER, counting"
    ORDER = "V-RULER, ordering"
    CLIPS = "TimeScope, clips"
    LINES = "VNBench, a line of subtitles"


DRAWN: dict[Kind, Callable[[], list[Needle]]] = {
    Kind.NEEDLE: drawn_needles,
    Kind.DISTRACTORS: drawn_needles,
    Kind.SEVERAL: drawn_needles,
    Kind.COUNT: drawn_counts,
    Kind.ORDER: drawn_orders,
    Kind.CLIPS: drawn_clips,
}
# Means over 100 to 3,000 frames. LongVA-7B's are of the published run (vision_niah/niah_output/LongVA-7B of the public
# code, from 200 frames). The others are of table 3 of arXiv 2502.05173, of models trained on 8,192 tokens.
PUBLISHED_NAMES = {"forced": "LongVA-7B", "forced_to_2000": "LongVA-7B, up to 2,000 frames"}
PUBLISHED: dict[Kind, dict[str, float]] = {
    Kind.NEEDLE: {"forced": 0.909, "forced_to_2000": 0.973},
    Kind.DISTRACTORS: {"VideoRoPE": 0.871, "M-RoPE": 0.747, "vanilla RoPE": 0.302},
}


@dataclass(frozen=True)
class Task:
    """One of the tests. `number`: how many distractors, or how many needles together, at most."""

    kind: Kind = Kind.NEEDLE
    number: int = 1

    def __post_init__(self) -> None:
        if self.number < 1:
            raise DemoError(f"{self.number} is not a valid number for {self.kind}", "use 1 or more")

    @property
    def title(self) -> str:
        number = f" ({self.number})" if self.kind in (Kind.DISTRACTORS, Kind.SEVERAL) else ""
        return f"{self.kind}{number}"

    @property
    def is_spread(self) -> bool:
        """Whether the parts are spread over the whole haystack, so that depths have no meaning."""
        return self.kind in (Kind.COUNT, Kind.ORDER)

    @property
    def reserved(self) -> tuple[int, ...]:
        """Shapes that a drawn haystack has to lack, as they tell the needles apart."""
        return RESERVED if self.kind in (Kind.COUNT, Kind.ORDER, Kind.CLIPS) else ()

    def load(self, source: str) -> list[Needle]:
        """The needles of a source; see `load_needles`.

        Raises:
            DemoError: the source is unusable, or lacks what this test needs.
        """
        if self.kind is Kind.LINES:
            if source not in ("drawn", PUBLISHED_NEEDLES):
                raise DemoError(f"{self.title} has needles of its own", "leave --needles out")
            return line_needles()
        if source == PUBLISHED_NEEDLES and self.kind not in (Kind.NEEDLE, Kind.SEVERAL):
            raise DemoError(f"{source} has nothing for {self.title}", self._remedy())
        needles = DRAWN[self.kind]() if source == "drawn" else load_needles(source)
        if self.kind is Kind.SEVERAL and all(len(needle.parts) == 1 for needle in needles):
            needles = groups(needles, self.number)
        if lacking := self._lacking(needles):
            raise DemoError(f"{source} has {lacking}, which {self.title} needs", self._remedy())
        return needles

    def _lacking(self, needles: list[Needle]) -> str:
        """What the test needs and the needles lack, or ""."""
        if self.kind is Kind.DISTRACTORS and any(needle.distractor is None for needle in needles):
            return "needles without distractors"
        if self.is_spread and all(len(needle.parts) == 1 for needle in needles):
            return "no needles of several pictures"
        if self.kind is Kind.CLIPS and any(len(part) == 1 for needle in needles for part in needle.parts):
            return "needles that are not clips"
        return ""

    def _remedy(self) -> str:
        fields = {
            Kind.DISTRACTORS: "interrupt_path, as V-NIAH-D's",
            Kind.CLIPS: "a video as path",
        }
        return (
            f"use --needles FOLDER, with a {ANNOTATIONS} whose entries have {fields.get(self.kind, 'lists of paths')}"
        )

    def hide(self, seed: int) -> Hide:
        """Where the parts of a needle are hidden. The seed chooses what is random in it."""
        if self.kind is Kind.DISTRACTORS:
            return with_distractors(self.number, seed)
        if self.kind is Kind.SEVERAL:
            return within_window(seed)
        if self.kind is Kind.LINES:
            return among_lines(seed)
        return spread_evenly if self.is_spread else at_depth

    def grid(self, grid: Grid) -> Grid:
        """The grid of this test: what is spread over the whole haystack has one depth, that of its middle."""
        return replace(grid, depths=(MIDDLE,)) if self.is_spread else grid

    def facts(self, needles: list[Needle], seed: int) -> dict[str, Any]:
        """What the results depend on."""
        asked = [[text for one in needle.asked for text in (one.question, one.answer)] for needle in needles]
        named = [[needle.name, *texts] for needle, texts in zip(needles, asked, strict=True)]
        facts: dict[str, Any] = {"test": self.title, "needles": named}
        if self.kind is not Kind.NEEDLE:
            facts |= {"version": VERSION, "seed": seed}
        return facts
