"""Write the results of the evaluation to evaluation.json and as the table in docs/tiny.md."""

import json
from dataclasses import dataclass
from pathlib import Path

from tools.tiny.real_pictures import REAL

FOLDER = Path(__file__).parent
JSON_FILE = FOLDER / "evaluation.json"
PAGE = FOLDER.parents[1] / "docs" / "tiny.md"
MAX_FALSE = 0.02  # share of false refusals and of false shapes
MIN_SUPPORTED = 0.85  # tasks that score less are not listed as supported

NEEDLES = ("16", "64", "256", "1,024", "2,000")
TARGETS = {
    **dict.fromkeys(("background", "colour", "description", "letter", "number", "shape", "word"), 0.97),
    **dict.fromkeys(("count", "position", "yes-no", "yes-no symbol", "yes-no word"), 0.9),
    **dict.fromkeys(("changes", "direction", "end colour", "moves", "standing still", "start colour"), 0.95),
    "order": 0.85,
    "missing": 0.98,
    **{f"digit needle, {frames} frames": 0.85 if "," in frames else 0.95 for frames in NEEDLES},
    "refusal, no picture": 0.95,
    "refusal, drawn pictures of trained kinds": 0.95,
    "refusal, drawn pictures of held-out kinds": 0.95,
    "refusal, out-of-scope questions": 0.95,
    "refusal, unanswerable from frames": 0.95,
    "refusal, not a question": 0.95,
    **{f"refusal, {kind}": 0.95 for kind in REAL},
}


@dataclass(frozen=True)
class Row:
    """`score`: share of answers that match exactly."""

    task: str
    score: float
    samples: int
    seed: int

    def to_dict(self, command: str) -> dict[str, object]:
        values = {"task": self.task, "score": round(self.score, 4), "samples": self.samples, "seed": self.seed}
        return {**values, "command": command}


def table(rows: list[Row]) -> str:
    lines = ["| task | correct | samples | target | supported |", "|---|---|---|---|---|"]
    for row in rows:
        if row.task.startswith("false"):
            lines.append(f"| {row.task} | {row.score:.3f} | {row.samples} | ≤ {MAX_FALSE} | |")
            continue
        target = f"{TARGETS[row.task]:.2f}" if row.task in TARGETS else ""
        supported = "yes" if row.score >= MIN_SUPPORTED else "no"
        lines.append(f"| {row.task} | {row.score:.2f} | {row.samples} | {target} | {supported} |")
    return "\n".join(lines)


def write_report(rows: list[Row], command: str, seconds: float, write: bool) -> str:
    """Returns the table. With `write`, updates evaluation.json and the marked table in docs/tiny.md."""
    text = f"`{command}` ({seconds / 60:.0f} minutes, greedy decoding, exact match):\n\n{table(rows)}"
    if write:
        values = [row.to_dict(command) for row in rows]
        JSON_FILE.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split("<!-- table -->\n", 1)
        tail = rest.split("<!-- end of table -->", 1)[1]
        PAGE.write_text(f"{head}<!-- table -->\n{text}\n<!-- end of table -->{tail}", encoding="utf-8")
    return text
