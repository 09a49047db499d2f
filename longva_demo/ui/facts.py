"""What the page says about a file and an answer, as keys and numbers; the browser makes words of them."""

from typing import Any

from longva_demo.chat import AnswerStats, ImageSource, Source
from longva_demo.ui.words import Line, line


def source_facts(source: Source | None, name: str) -> dict[str, Any] | None:
    """Of what was loaded: its name, a line with length, size and codec, and a note for each thing lost or guessed."""
    if source is None:
        return None
    if isinstance(source, ImageSource):
        facts = line("about.picture", size=f"{source.image.width} × {source.image.height}")
    else:
        info = source.info
        size = f"{info.width} × {info.height}"
        facts = line("about.video", length=info.duration_seconds, size=size, fps=info.fps, codec=info.codec)
    return {"name": name, "facts": facts, "notes": list(dict.fromkeys(source.notes))}


def stats_lines(stats: AnswerStats, answer: str, has_frames: bool) -> list[Line]:
    """How the answer came about: "0.8 s to the first word", "31 words a second", "video read once, reused"."""
    lines = [line("stats.first_word", duration=stats.seconds_to_first_token)]
    seconds = stats.seconds - stats.seconds_to_first_token
    num_words = len(answer.split())
    speed = round(num_words / seconds) if num_words > 2 and seconds > 0 else 0
    if speed:
        lines.append(line("stats.speed", count=speed))
    if has_frames and stats.way == "kept":
        lines.append(line("stats.reused"))
    elif has_frames:
        key = "stats.fetched" if stats.way == "fetched" else "stats.read_again" if stats.read_again else "stats.read"
        lines.append(line(key, duration=stats.seconds_to_read))
    if stats.stopped:
        lines.append(line("stats.stopped"))
    return lines
