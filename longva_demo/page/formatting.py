"""Human-readable numbers for saved files."""


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
    """A duration: "under 0.1 s", "0.8 s", "12 s"."""
    if seconds < 0.095:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
