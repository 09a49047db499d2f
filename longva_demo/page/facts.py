"""What the page says about a file and an answer, as keys and numbers; the browser makes words of them."""

from typing import Any

from longva_demo.chat import AnswerStats, CacheStatus, ImageSource, Source
from longva_demo.page.i18n import Message, message


def source_facts(source: Source | None, name: str) -> dict[str, Any] | None:
    """Of what was loaded: its name, a line with length, size and codec, and a note for each thing lost or guessed."""
    if source is None:
        return None
    if isinstance(source, ImageSource):
        facts = message("about.picture", size=f"{source.image.width} × {source.image.height}")
    else:
        info = source.info
        size = f"{info.width} × {info.height}"
        facts = message("about.video", length=info.duration_seconds, size=size, fps=info.fps, codec=info.codec)
    return {"name": name, "facts": facts, "notes": list(dict.fromkeys(source.notes))}


def stats_messages(stats: AnswerStats, answer: str, has_frames: bool) -> list[Message]:
    """How the answer came about: "0.8 s to the first word", "31 words a second", "video read once, reused"."""
    lines = [message("stats.first_word", duration=stats.seconds_to_first_token)]
    seconds = stats.seconds - stats.seconds_to_first_token
    num_words = len(answer.split())
    speed = round(num_words / seconds) if num_words > 2 and seconds > 0 else 0
    if speed:
        lines.append(message("stats.speed", count=speed))
    if has_frames and stats.cache is CacheStatus.HIT:
        lines.append(message("stats.reused"))
    elif has_frames:
        key = (
            "stats.restored"
            if stats.cache is CacheStatus.RESTORED
            else "stats.evicted"
            if stats.was_evicted
            else "stats.read"
        )
        lines.append(message(key, duration=stats.seconds_to_prefill))
    if stats.stopped:
        lines.append(message("stats.stopped"))
    return lines
