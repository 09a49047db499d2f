"""The evaluation's table, as JSON beside the weights and as docs/tiny.md."""

import json
from dataclasses import dataclass
from pathlib import Path

from tools.tiny.real_pictures import REAL

FOLDER = Path(__file__).parent
JSON_FILE = FOLDER / "evaluation.json"
PAGE = FOLDER.parents[1] / "docs" / "tiny.md"
AT_MOST = 0.02  # of false declines and of false shapes
PROMISED = 0.85  # what scores less is not promised to anybody

NEEDLES = ("16", "64", "256", "1,024", "2,000")
AIMS = {
    **dict.fromkeys(("background", "colour", "description", "letter", "number", "shape", "word"), 0.97),
    **dict.fromkeys(("count", "position", "yes-no", "yes-no symbol", "yes-no word"), 0.9),
    **dict.fromkeys(("changes", "direction", "end colour", "moves", "standing still", "start colour"), 0.95),
    "order": 0.85,
    "missing": 0.98,
    **{f"digit needle, {frames} frames": 0.85 if "," in frames else 0.95 for frames in NEEDLES},
    "declining, no picture at all": 0.95,
    "declining, pictures of known kinds": 0.95,
    "declining, pictures of unseen kinds": 0.95,
    "declining, questions": 0.95,
    "declining, what frames do not tell": 0.95,
    "declining, what is no question": 0.95,
    **{f"declining, {kind}": 0.95 for kind in REAL},
}


@dataclass(frozen=True)
class Row:
    """`score` is the share of exactly right answers."""

    task: str
    score: float
    samples: int
    seed: int

    def to_dict(self, command: str) -> dict[str, object]:
        values = {"task": self.task, "score": round(self.score, 4), "samples": self.samples, "seed": self.seed}
        return {**values, "command": command}


def table(rows: list[Row]) -> str:
    lines = ["| task | right | samples | aim | promised |", "|---|---|---|---|---|"]
    for row in rows:
        if row.task.startswith("false"):
            lines.append(f"| {row.task} | {row.score:.3f} | {row.samples} | ≤ {AT_MOST} | |")
            continue
        aim = f"{AIMS[row.task]:.2f}" if row.task in AIMS else ""
        promised = "yes" if row.score >= PROMISED else "no"
        lines.append(f"| {row.task} | {row.score:.2f} | {row.samples} | {aim} | {promised} |")
    return "\n".join(lines)


def write_report(rows: list[Row], command: str, seconds: float, write: bool) -> str:
    """The table; with `write`, also evaluation.json and the part of docs/tiny.md between its two marks."""
    text = f"`{command}` ({seconds / 60:.0f} minutes, greedy answers, exact match):\n\n{table(rows)}"
    if write:
        values = [row.to_dict(command) for row in rows]
        JSON_FILE.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split("<!-- table -->\n", 1)
        tail = rest.split("<!-- end of table -->", 1)[1]
        PAGE.write_text(f"{head}<!-- table -->\n{text}\n<!-- end of table -->{tail}", encoding="utf-8")
    return text
