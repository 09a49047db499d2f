"""Numbers and times as people read them, in what is written here: files to save, and fields to type in."""

import math


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


def duration(seconds: float) -> str:
    """How long something took: "under 0.1 s", "0.8 s", "12 s"."""
    if seconds < 0.095:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
