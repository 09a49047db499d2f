"""The transcript: immutable entries, which are replaced and never changed, and what the browser is sent of them."""

from dataclasses import asdict, dataclass, replace

from longva_demo.page.i18n import Message, message
from longva_demo.page.markdown import Moments, to_html
from longva_demo.timed_text import Line

# What a component's script reads; JSON holds it.
Value = dict[str, object]
# The checks that an answer offers, by the names of their events.
BLIND, COMPARE = "blind", "compare"
# Those of an answer about a picture, and about a video.
CHECKS = {"picture": [BLIND], "video": [BLIND, COMPARE]}


@dataclass(frozen=True)
class Draft:
    """An answer that is being written: its text so far, and the progress before its first word (0 to 1)."""

    answer: str = ""
    status: Message | None = None
    progress: float | None = None

    def to_page(self) -> Value:
        value: Value = {"status": self.status or ""}
        return value if self.progress is None else value | {"progress": self.progress}


WAITING = Draft(status=message("progress.waiting"))


@dataclass(frozen=True)
class UsedFrame:
    """A frame that the answer used: its time, its thumbnail as a data URL, and how many times less likely the answer is
    without it; or, where it was first seen, how many times likelier it is with it."""

    seconds: float
    picture: str
    factor: float


@dataclass(frozen=True)
class AnswerAttribution:
    """How sure the model was, and what its answer used.

    heat: one digit per frame, its attention from 0 to 9; None without a video, and if it is unknown.
    used_frames: None until frames have been occluded, or the one where the answer was first seen has been found.
    skipped: why none are.
    is_first_seen: how the frame was found (`Attribution.is_first_seen`).
    """

    sureness: str
    probability: float
    heat: str | None = None
    used_frames: tuple[UsedFrame, ...] | None = None
    skipped: Message | None = None
    is_first_seen: bool = False

    def to_page(self, with_heat: bool) -> Value:
        value: Value = {"sure": {"word": self.sureness, "probability": self.probability}}
        if self.heat is not None and with_heat:
            value["heat"] = self.heat
        if self.skipped is not None:
            value["skipped"] = self.skipped
        if self.is_first_seen:
            value["first_seen"] = True
        if self.used_frames is not None:
            value["used_frames"] = [asdict(frame) for frame in self.used_frames]
        return value


@dataclass(frozen=True)
class BlindCheck:
    """The answer to the same question without the video."""

    answer: str = ""
    verdict: Message | None = None
    draft: Draft | None = None  # while the check runs

    @property
    def is_empty(self) -> bool:
        return not (self.answer or self.verdict)

    def to_page(self) -> Value:
        value: Value = {"answer": self.answer, "html": to_html(self.answer)}
        if self.verdict is not None:
            value["verdict"] = self.verdict
        return value | (self.draft.to_page() if self.draft else {})


@dataclass(frozen=True)
class ComparedBudget:
    """The answer with so many frames, in one prompt or in one for each of several windows; `duration` in seconds.

    without_lines: the model was not given the lines that the answer above was given.
    """

    frames: int
    answer: str
    duration: float
    tokens: int
    windows: int = 1
    without_lines: bool = False


@dataclass(frozen=True)
class Comparison:
    """The answers with several frame budgets. `present` is that of the answer above, `note` why some are missing."""

    rows: tuple[ComparedBudget, ...] = ()
    present: int = 0
    note: Message | None = None
    draft: Draft | None = None  # while the comparison runs

    @property
    def is_empty(self) -> bool:
        return not self.rows

    def to_page(self) -> Value:
        value: Value = {"rows": [asdict(row) for row in self.rows], "present": self.present, "note": self.note}
        return value | (self.draft.to_page() if self.draft else {})


Panel = BlindCheck | Comparison


@dataclass(frozen=True)
class NoteEntry:
    """A line between two turns."""

    text: Message

    def to_page(self) -> Value:
        return {"kind": "note", "text": self.text}


@dataclass(frozen=True)
class TurnEntry:
    """A question and its answer, with what the page shows below it. `file` is what it is about, "" if nothing.

    lines: of what is said and written, given to the model with the question, or found for the visitor after a refusal.
    """

    question: str
    answer: str = ""
    stats: tuple[Message, ...] = ()
    attribution: AnswerAttribution | None = None
    file: str = ""
    moments: Moments | None = None  # of that file
    is_refusal: bool = False
    lines: tuple[Line, ...] = ()
    blind: BlindCheck | None = None
    comparison: Comparison | None = None
    draft: Draft | None = None  # while the answer is being written

    def with_panel(self, panel: Panel) -> "TurnEntry":
        """With `panel` in place of the previous one of its kind. A panel that ended without a result is dropped."""
        is_shown = panel.draft is not None or not panel.is_empty
        if isinstance(panel, BlindCheck):
            return replace(self, blind=panel if is_shown else None)
        return replace(self, comparison=panel if is_shown else None)

    def to_page(self, is_newest: bool) -> Value:
        """Only the newest answer's heat is shown on the frames."""
        text = self.answer if self.draft is None else self.draft.answer
        value: Value = {"kind": "turn", "question": self.question, "answer": text, "html": to_html(text, self.moments)}
        if self.draft is not None:
            return value | self.draft.to_page()
        value["stats"] = list(self.stats)
        if self.is_refusal:
            value["is_refusal"] = True
        if self.lines:
            value["lines"] = [[round(line.start, 3), line.text, line.source] for line in self.lines]
        if self.attribution is not None:
            value |= self.attribution.to_page(with_heat=is_newest)
        if self.blind is not None:
            value[BLIND] = self.blind.to_page()
        if self.comparison is not None:
            value[COMPARE] = self.comparison.to_page()
        return value


Entry = NoteEntry | TurnEntry


class Transcript:
    """The entries, oldest first. `entries` is replaced as a whole, so other threads may read it at any time."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()

    @property
    def has_open_turn(self) -> bool:
        """Whether the last answer is still being written."""
        last = self.entries[-1] if self.entries else None
        return isinstance(last, TurnEntry) and last.draft is not None

    def append(self, entry: Entry) -> None:
        self.entries = (*self.entries, entry)

    def replace(self, position: int, entry: Entry) -> None:
        entries = list(self.entries)
        entries[position] = entry
        self.entries = tuple(entries)

    def pop(self) -> Entry:
        *rest, last = self.entries
        self.entries = tuple(rest)
        return last

    def clear(self) -> None:
        self.entries = ()

    def remove_last_turn(self) -> None:
        while self.entries and not isinstance(self.pop(), TurnEntry):
            pass

    def start_new_chat(self) -> None:
        """Mark where the model begins without the turns above. Two marks never follow each other."""
        if self.entries:
            if isinstance(self.entries[-1], NoteEntry):
                self.pop()
            self.append(NoteEntry(message("chat.fresh")))

    def turn(self, position: int) -> TurnEntry:
        entry = self.entries[position]
        assert isinstance(entry, TurnEntry)
        return entry

    def remembered(self, num_turns: int) -> list[int]:
        """The positions of the last `num_turns` finished turns, which are those that the session remembers."""
        return last_turns(self.entries, num_turns)

    def to_page(self, num_turns: int, checks: list[str], file: str = "") -> list[Value]:
        """The entries for the browser, while `file` is selected. Remembered turns offer `checks`; if the last entry is
        one, it offers retry, edit and undo. The moments of other files cannot be shown."""
        entries = self.entries
        remembered = last_turns(entries, num_turns)
        newest = remembered[-1] if remembered else None
        values = []
        for position, entry in enumerate(entries):
            value = entry.to_page() if isinstance(entry, NoteEntry) else entry.to_page(position == newest)
            if position in remembered:
                value["checks"] = checks
            if isinstance(entry, TurnEntry) and entry.file != file:
                value["is_elsewhere"] = True
            values.append(value)
        if values and newest == len(entries) - 1:
            values[-1]["tools"] = True
        return values


def last_turns(entries: tuple[Entry, ...], count: int) -> list[int]:
    """The positions of the last `count` turns that are finished."""
    positions = [
        position for position, entry in enumerate(entries) if isinstance(entry, TurnEntry) and entry.draft is None
    ]
    return positions[max(0, len(positions) - count) :]
