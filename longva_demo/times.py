"""Times as people read and write them."""

import math

from longva_demo.errors import DemoError, short


def format_time(seconds: float, decimals: int = 0) -> str:
    """Seconds as m:ss or h:mm:ss, truncated to `decimals` decimals: never past the moment itself.

    `formatTime` in the page's times.js computes the same.

    >>> format_time(62.59), format_time(3723.5), format_time(7.25, 1)
    ('1:02', '1:02:03', '0:07.2')
    """
    step = 10**decimals
    # 1e-6: 0.3 s is slightly below 3 tenths in binary, and must not become 0.2.
    whole, part = divmod(math.floor(max(0.0, seconds) * step + 1e-6), step)
    minutes, second = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
    return f"{text}.{part:0{decimals}}" if decimals else text


def parse_time(text: str) -> float:
    """Seconds from "90", "1:30" or "0:01:30.0".

    >>> parse_time("1:02:03.5")
    3723.5

    Raises:
        DemoError: the text is not a valid time.
    """
    parts = text.strip().split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        seconds = 0.0
        for part in parts:
            seconds = seconds * 60 + float(part)
    except ValueError:
        raise DemoError(f"{short(text)} is not a valid time", "use seconds (90) or h:mm:ss") from None
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DemoError(f"{short(text)} is not a valid time", "use seconds (90) or h:mm:ss")
    return seconds


def to_seconds(time: float | str) -> float:
    """A number of seconds, or a text for `parse_time`."""
    return parse_time(time) if isinstance(time, str) else float(time)
