"""A look and what came of it; the last few are kept, so that going back to a range is instant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longva_demo.chat import Engine, ImageSource, Source, VideoSource
from longva_demo.errors import DemoError, short
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.settings import Settings
from longva_demo.times import parse_time
from longva_demo.video import DecodeLimits, VideoInfo, is_picture, plan_frames, probe

# Views kept beside the present one, and the bytes of frames on disk that they may take together.
MAX_VIEWS = 4
MAX_BYTES = 10**9

# Seconds; None is the beginning or the end of the video.
Range = tuple[float | None, float | None]
WHOLE: Range = (None, None)


@dataclass(frozen=True)
class Selection:
    """What the page is asked to look at: a file, how many frames of it, and which stretch."""

    path: Path
    num_frames: int
    start_seconds: float | None = None
    end_seconds: float | None = None
    decoder: str = "pyav"

    @classmethod
    def from_fields(
        cls, path: str | None, num_frames: object, start: str | None, end: str | None, decoder: str, settings: Settings
    ) -> "Selection | None":
        """What the fields say, checked; None without a file.

        Raises:
            DemoError: a budget outside 1 to `settings.max_frames`, a time that is none, an end before the start.
        """
        if not path:
            return None
        if not isinstance(num_frames, int | float) or not 1 <= num_frames <= settings.max_frames:
            raise DemoError(f"the budget is {short(num_frames)} frames", f"use 1 to {settings.max_frames:,}")
        first, last = (parse_time(text) if text and text.strip() else None for text in (start, end))
        if last is not None and last <= (first or 0.0):
            raise DemoError(
                f"the end {short(end)} is not after the start {short(start or '0:00')}", "let the range end later"
            )
        return cls(Path(path), int(num_frames), first, last, decoder)

    def open(self, engine: Engine, settings: Settings, shown: Source | None = None) -> Source:
        """Probe and plan; nothing is decoded yet, except a picture. A file that is shown already is not probed again.

        Raises:
            DemoError: the file cannot be used, the range lies outside it, or the budget does not fit.
        """
        if is_picture(self.path):
            return ImageSource(self.path, engine.processor)
        limits = DecodeLimits.from_settings(settings)
        info = self.known(shown) or probe(self.path, limits=limits, decoder=self.decoder)
        plan = plan_frames(info, self.num_frames, self.start_seconds or 0.0, self.end_seconds)
        return VideoSource(info, plan, engine.processor, self.decoder, limits)

    def known(self, shown: Source | None) -> VideoInfo | None:
        """What the file is, from a source with the same file and the same decoder."""
        if not isinstance(shown, VideoSource) or (shown.info.path, shown.decoder) != (self.path, self.decoder):
            return None
        return shown.info

    @property
    def range(self) -> Range:
        return self.start_seconds or None, self.end_seconds


@dataclass(frozen=True)
class SampledView:
    """A look, its frames, and their thumbnails; `trail` is the way to its range, from the whole video on."""

    look: Selection
    source: Source
    sheets: Sheets
    trail: tuple[Range, ...] = (WHOLE,)

    @property
    def is_complete(self) -> bool:
        """Whether all its frames were shown."""
        return isinstance(self.source, VideoSource) and self.sheets.is_finished

    @property
    def num_bytes(self) -> int:
        return self.source.num_bytes if isinstance(self.source, VideoSource) else 0

    @property
    def value(self) -> dict[str, Any]:
        """What the page needs in order to fetch the frames and to draw the timeline."""
        duration = self.source.info.duration_seconds if isinstance(self.source, VideoSource) else None
        return {**self.sheets.value, "duration": duration, "trail": self.trail}

    def pause(self) -> None:
        if isinstance(self.source, VideoSource):
            self.source.pause()

    def resume(self) -> None:
        if isinstance(self.source, VideoSource):
            self.source.fill()

    def close(self) -> None:
        if isinstance(self.source, VideoSource):
            self.source.close()


class RecentViews:
    """The last complete views, oldest first, under a bound; what does not fit is closed."""

    def __init__(self) -> None:
        self._views: list[SampledView] = []

    def find(self, look: Selection) -> SampledView | None:
        return next((view for view in self._views if view.look == look), None)

    def put(self, view: SampledView) -> None:
        view.pause()
        self._views.append(view)
        if not view.is_complete:
            self._close(view)
        while len(self._views) > MAX_VIEWS or sum(view.num_bytes for view in self._views) > MAX_BYTES:
            self._close(self._views[0])

    def take(self, look: Selection) -> None:
        """Let go of the view of `look`, if there is one, without closing it: it is looked at again."""
        self._views = [view for view in self._views if view.look != look]

    @property
    def files(self) -> set[Path]:
        return {view.look.path for view in self._views}

    def close(self) -> None:
        while self._views:
            self._close(self._views[0])

    def __len__(self) -> int:
        return len(self._views)

    def _close(self, view: SampledView) -> None:
        self._views.remove(view)
        view.close()


def trail_to(new: Range, old: tuple[Range, ...]) -> tuple[Range, ...]:
    """The way to the range `new`: the ranges of the way so far that contain it, and itself.

    >>> trail_to((80.0, 100.0), (WHOLE, (60.0, 120.0), (60.0, 70.0)))
    ((None, None), (60.0, 120.0), (80.0, 100.0))
    >>> trail_to(WHOLE, (WHOLE, (60.0, 120.0)))
    ((None, None),)
    """

    def bounds(range_: Range) -> tuple[float, float]:
        start, end = range_
        return start or 0.0, float("inf") if end is None else end

    first, last = bounds(new)
    around = [one for one in old if one != new and bounds(one)[0] <= first and last <= bounds(one)[1]]
    return (*around, new) if WHOLE in around or new == WHOLE else (WHOLE, *around, new)
