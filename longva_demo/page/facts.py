"""Messages about a file and about an answer, as catalogue keys and numbers for the browser to format."""

from longva_demo.chat import AnswerStats, CacheStatus, Source, VideoSource
from longva_demo.page.i18n import Message, message
from longva_demo.page.transcript import Value


def source_facts(source: Source | None, name: str) -> Value | None:
    """The file's name, its length, size and codec, and one note for everything that was lost or guessed."""
    if source is None:
        return None
    width, height = source.size
    size = f"{width} × {height}"
    if isinstance(source, VideoSource):
        info = source.info
        facts = message("about.video", length=info.duration_seconds, size=size, fps=info.fps, codec=info.codec)
    else:
        facts = message("about.picture", size=size)
    return {"name": name, "facts": facts, "notes": list(dict.fromkeys(source.notes))}


def stats_messages(stats: AnswerStats, answer: str, has_frames: bool) -> list[Message]:
    """Time to the first word, words per second, and whether the video's prefix was cached."""
    messages = [message("stats.first_word", duration=stats.seconds_to_first_token)]
    seconds = stats.seconds - stats.seconds_to_first_token
    num_words = len(answer.split())
    speed = round(num_words / seconds) if num_words > 2 and seconds > 0 else 0
    if speed:
        messages.append(message("stats.speed", count=speed))
    if has_frames and stats.cache is CacheStatus.HIT:
        messages.append(message("stats.reused"))
    elif has_frames:
        key = (
            "stats.restored"
            if stats.cache is CacheStatus.RESTORED
            else "stats.evicted"
            if stats.was_evicted
            else "stats.read"
        )
        messages.append(message(key, duration=stats.seconds_to_prefill))
    if stats.stopped:
        messages.append(message("stats.stopped"))
    return messages
