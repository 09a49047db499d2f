"""Numbers and times as people read them; everything here that goes into HTML is escaped."""

import html
import math
import re

from longva_demo.chat import AnswerStats, ImageSource, Source


def clock(seconds: float, decimals: int = 0) -> str:
    """Seconds as m:ss or h:mm:ss, cut to `decimals` decimals, never rounded up past the moment.

    >>> clock(62.59), clock(3723.5), clock(7.25, 1)
    ('1:02', '1:02:03', '0:07.2')
    """
    step = 10**decimals
    units = math.floor(max(0.0, seconds) * step + 1e-6)
    whole, part = divmod(units, step)
    minutes, second = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
    return f"{text}.{part:0{decimals}}" if decimals else text


def moment(seconds: float) -> str:
    """Seconds as a person would type them, to the hundredth.

    >>> moment(80.0), moment(80.5), moment(3.256)
    ('1:20', '1:20.5', '0:03.26')
    """
    return re.sub(r"\.?0+$", "", clock(round(seconds, 2), 2))


def size(num_bytes: int) -> str:
    """Bytes in GB, MB or kB, with two or three digits.

    >>> size(8_260_000), size(1_057_000_000), size(18_432)
    ('8.3 MB', '1.1 GB', '18 kB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes / 1e3:.0f} kB"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def interval(seconds: float) -> str:
    """The time between two frames: "0.25 s", "14 s", "1:30"."""
    if seconds >= 90:
        return clock(seconds)
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.2g} s"


def source_line(source: Source | None, name: str) -> str:
    """HTML: file name, length, size and codec of what was loaded, and a line for each thing lost or guessed."""
    if source is None:
        return ""
    if isinstance(source, ImageSource):
        facts = f"{source.image.width} × {source.image.height} picture"
    else:
        info = source.info
        facts = f"{clock(info.duration_seconds)} · {info.width} × {info.height} · {info.fps:.3g} fps · {info.codec}"
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in dict.fromkeys(source.notes))
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f'<p class="about"><b>{html.escape(name)}</b> {html.escape(facts)}</p>{notes}'


def duration(seconds: float) -> str:
    """How long something took: "under 0.1 s", "0.8 s", "12 s"."""
    if seconds < 0.095:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def stats_line(stats: AnswerStats, answer: str, has_frames: bool) -> str:
    """How the answer came about: "0.8 s to the first word · 31 words a second · video read once, reused"."""
    parts = [f"{duration(stats.seconds_to_first_token)} to the first word"]
    seconds = stats.seconds - stats.seconds_to_first_token
    num_words = len(answer.split())
    if num_words > 2 and seconds > 0:
        parts.append(f"{num_words / seconds:.0f} words a second")
    if has_frames:
        parts.append("video read once, reused" if stats.reused else f"video read in {duration(stats.seconds_to_read)}")
    if stats.stopped:
        parts.append("stopped")
    return " · ".join(parts)
