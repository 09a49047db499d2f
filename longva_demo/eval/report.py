"""The page of an evaluation: each question with its answers and the frames that the answer relied on.

Every text is escaped, and its content security policy forbids scripts and remote content.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from longva_demo.chat.attribution import MIN_DROP
from longva_demo.errors import DemoError
from longva_demo.eval.questions import LETTERS
from longva_demo.eval.results import Result
from longva_demo.eval.summary import Summary
from longva_demo.times import format_time

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, head: dict[str, Any], results: Sequence[Result], summary: Summary) -> None:
    """Write the page. The pictures of frames are beside it, in frames/.

    Raises:
        DemoError: it cannot be written.
    """
    text = TEMPLATES.get_template("report.html").render(
        title=f"Evaluation of {head['model']}",
        written=datetime.now(UTC).strftime("%Y-%m-%d at %H:%M"),
        facts=head,
        summary=summary.lines(),
        results=[describe(number, result) for number, result in enumerate(results, start=1)],
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DemoError(f"cannot write {path} ({error.strerror or error})", "free some space") from error


def frames_heading(result: Result) -> str:
    """What the frames are: the answer may depend on no single one of them, as in a still scene."""
    if not result.indices:
        return "The picture"
    relied = any((frame.drop or 0) >= MIN_DROP for frame in result.used_frames)
    return (
        "Frames the answer relied on" if relied else "Frames with most attention; the answer depends on no single one"
    )


def describe(number: int, result: Result) -> dict[str, Any]:
    """One question for the template."""
    question = result.question
    options = zip(LETTERS, question.options or (), strict=False)
    verdict = "error" if result.error else "right" if result.right else "wrong"
    return {
        "number": number,
        "video": question.video,
        "question": question.question,
        "options": [{"letter": letter, "text": text, "truth": letter == question.answer} for letter, text in options],
        "truth": " / ".join(question.answers),
        "answer": result.answer,
        "verdict": verdict,
        "error": result.error,
        "blind_answer": result.blind_answer,
        "blind_verdict": "right" if result.blind_right else "wrong",
        "frames": [
            {"picture": frame.picture, "text": format_time(frame.seconds, 1) if result.indices else ""}
            for frame in result.used_frames
        ],
        "frames_heading": frames_heading(result),
        "num_frames": result.num_frames,
        "is_video": bool(result.indices),
        "notes": result.notes,
    }
