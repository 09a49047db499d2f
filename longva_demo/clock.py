"""Times as people read and write them."""

from math import isfinite

from longva_demo.errors import DemoError, short


def clock_time(seconds: float) -> str:
    """Minutes, seconds and tenths, with hours where there are any.

    >>> clock_time(3723.46), clock_time(9.04), clock_time(59.96)
    ('1:02:03.5', '0:09.0', '1:00.0')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def parse_time(text: str) -> float:
    """Seconds from "90", "1:30" or "0:01:30.0".

    >>> parse_time("1:02:03.5")
    3723.5

    Raises:
        DemoError: the text is no time.
    """
    parts = text.strip().split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        seconds = 0.0
        for part in parts:
            seconds = seconds * 60 + float(part)
    except ValueError:
        raise DemoError(f"{short(text)} is no time", "give seconds or h:mm:ss") from None
    if not (isfinite(seconds) and seconds >= 0):
        raise DemoError(f"{short(text)} is no time", "give seconds or h:mm:ss")
    return seconds
