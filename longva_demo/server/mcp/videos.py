"""What the tools compute, without MCP: facts about a file, its frames as a contact sheet, and answers in words."""

import io
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from longva_demo.errors import DemoError, one_line
from longva_demo.moments import Moments
from longva_demo.server.conversations import Answered
from longva_demo.settings import Settings
from longva_demo.timed_text import (
    SOURCES,
    Collected,
    Request,
    installed_sources,
    matching_lines,
    read_lines,
)
from longva_demo.timed_text.packages import check_installed
from longva_demo.times import format_time
from longva_demo.video import DecodeLimits, FrameBatch, decode_frames, is_picture, plan_frames, probe
from longva_demo.video.picture import read_picture
from longva_demo.video.sheet import CELL_HEIGHT, CELL_WIDTH, cell, join_cells

MAX_SHEET_FRAMES = 64  # 1536 × 1296 pixels: what agents are shown at full size
SHEET_QUALITY = 80
MAX_LINES = 50  # of a result
PREVIEW_SIDE = 512  # pixels, of a picture


@dataclass(frozen=True)
class Sheet:
    """Frames in one JPEG, row by row, and their numbers and times as text."""

    jpeg: bytes
    text: str


def describe_file(path: Path, settings: Settings) -> dict[str, Any]:
    """The properties of a video or picture that help to choose a range and a budget.

    Raises:
        VideoError: it cannot be used.
    """
    limits = DecodeLimits.from_settings(settings)
    if is_picture(path):
        width, height = read_picture(path, PREVIEW_SIDE, limits=limits).size
        return {"kind": "picture", "width": width, "height": height}
    info = probe(path, limits)
    return {
        "kind": "video",
        "duration_seconds": round(info.duration_seconds, 3),
        "duration": format_time(info.duration_seconds, 1),
        "num_frames": info.num_frames,
        "fps": round(info.fps, 3),
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "notes": list(info.notes),
        "largest_num_frames": min(info.num_frames, settings.max_frames),
    }


def make_sheet(
    path: Path, num_frames: int, start: float, end: float | None, settings: Settings
) -> Generator[tuple[int, int] | Sheet]:
    """Yields (frames done, all frames), then the sheet.

    Raises:
        DemoError: the file is not a video or cannot be used, or the range or the number of frames is not possible.
    """
    if not 1 <= num_frames <= MAX_SHEET_FRAMES:
        raise DemoError(f"a sheet of {num_frames} frames is not possible", f"use 1 to {MAX_SHEET_FRAMES}")
    if is_picture(path):
        raise DemoError("this is a picture", "ask about it with ask_video")
    limits = DecodeLimits.from_settings(settings)
    info = probe(path, limits)
    plan = plan_frames(info, num_frames, start, end)
    scale = min(CELL_WIDTH / info.width, CELL_HEIGHT / info.height)
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    cells, lines, notes = [], [], list(info.notes)
    for batch in decode_frames(path, plan, info=info, decoder=settings.decoder, limits=limits, size=size):
        cells += [cell(Image.fromarray(pixels), seconds) for pixels, seconds in with_times(batch)]
        lines += [
            f"frame {index} at {format_time(seconds, 1)} ({seconds:.2f} s)"
            for index, seconds in zip(batch.indices, batch.seconds, strict=True)
        ]
        notes += [note for note in batch.notes if note not in notes]
        yield len(cells), plan.num_frames
    data = io.BytesIO()
    join_cells(cells).save(data, "jpeg", quality=SHEET_QUALITY)
    spacing = f"One frame every {plan.seconds_between:.2f} s, row by row; anything shorter may be missed."
    yield Sheet(data.getvalue(), "\n".join([spacing, *lines, *(f"Note: {note}" for note in notes)]))


def with_times(batch: FrameBatch) -> Iterator[tuple[Any, float]]:
    yield from zip(batch.pixels, batch.seconds, strict=True)


def find_lines(path: Path, query: str, settings: Settings) -> Generator[tuple[int, int] | str]:
    """What is said or written in a video that matches `query`. Yields (done, all), then the lines as text.

    Raises:
        DemoError: no package that reads them is installed, or the file cannot be used.
    """
    sources, notes = installed_sources()
    if not sources:
        check_installed(SOURCES[0])
    request = Request(sources=sources, looks_beside=False, speech_model=settings.speech_model, may_download=False)
    limits, found = DecodeLimits.from_settings(settings), Collected()
    for update in read_lines(probe(path, limits), request, limits):
        found.add(update)
        yield int(update.done), int(update.total)
    lines = [
        f"{format_time(line.start, 1)} to {format_time(line.end, 1)} ({line.source}): {one_line(line.text)}"
        for line in matching_lines(found.lines, query)
    ]
    more = [f"[{len(lines) - MAX_LINES:,} more lines match.]"] if len(lines) > MAX_LINES else []
    remarks = [f"[Note: {note}]" for note in (*notes, *found.notes)]
    yield "\n".join([*(lines[:MAX_LINES] or ["Nothing that is said or written matches."]), *more, *remarks])


def moments_text(found: Moments) -> str:
    """The ranges in which the video shows it, the likeliest first."""
    ranges = sorted(found.ranges, key=lambda one: -one.score)[:MAX_LINES]
    lines = [
        f"{format_time(one.start, 1)} to {format_time(one.end, 1)}, most clearly at {format_time(one.best, 1)} "
        f"(score {one.score:.2f})"
        for one in ranges
    ]
    lines = lines or ["It was not seen in any of the frames."]
    lines.append(f"[{len(found.frames)} frames were looked at, each on its own.]")
    if found.is_unsure:
        lines.append("[The model answered neither yes nor no about most of them; ask in another way.]")
    return "\n".join([*lines, *(f"[Note: {note}]" for note in found.notes)])


def answer_text(answered: Answered) -> str:
    """The answer, then what the model was given and what it relied on: an agent decides by it where to look closer."""
    lines = [answered.turn.answer.strip()]
    frames = answered.frames
    if frames:
        first, last = format_time(frames[0].seconds, 1), format_time(frames[-1].seconds, 1)
        spacing = (frames[-1].seconds - frames[0].seconds) / max(1, len(frames) - 1)
        lines.append(
            f"[The model was given {len(frames)} frames from {first} to {last}, one every {spacing:.2f} s; anything "
            "shorter may be missed.]"
        )
    attribution = answered.turn.attribution
    if attribution is not None and attribution.is_first_seen and attribution.used_frames:
        lines.append(f"[The answer was first seen at {format_time(frames[attribution.used_frames[0]].seconds, 1)}.]")
    elif attribution is not None and attribution.log_prob_drops is not None:
        times = [format_time(frames[position].seconds, 1) for position in attribution.used_frames]
        relied = f"relied on the frames at {', '.join(times)}" if times else "did not clearly rely on any single frame"
        lines.append(f"[The answer {relied}.]")
    lines += [f"[Note: {note}]" for note in answered.notes]
    return "\n".join(lines)
