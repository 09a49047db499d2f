"""Wording shared by the notes for the user."""


def counted(count: int, noun: str) -> str:
    """Examples: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def frames_at(seconds: dict[int, float], selected: set[int]) -> str:
    """Name the selected ones of the sampled frames: "4 frames (at 1.00, 2.50 to 4.00 s)".

    seconds: {frame index: time} of all sampled frames. Selected frames that are neighbours in it form one interval.
    """
    runs: list[list[float]] = []
    is_open = False
    for index, second in sorted(seconds.items()):
        if index in selected and is_open:
            runs[-1].append(second)
        elif index in selected:
            runs.append([second])
        is_open = index in selected
    named = [f"{run[0]:.2f} to {run[-1]:.2f}" if len(run) > 1 else f"{run[0]:.2f}" for run in runs]
    return f"{counted(len(selected), 'frame')} (at {', '.join(named)} s)"
