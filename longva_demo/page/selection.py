"""A selection and its sampled view. The last few views stay open, so that returning to a range is instant."""

from dataclasses import dataclass
from pathlib import Path

from longva_demo.chat import Engine, ImageSource, Source, VideoSource
from longva_demo.errors import DemoError, short
from longva_demo.page.components.frame_browser import Sheets
from longva_demo.page.transcript import Value
from longva_demo.quotas import Holding
from longva_demo.settings import Settings
from longva_demo.times import parse_time
from longva_demo.video import DecodeLimits, VideoInfo, is_picture, plan_frames, probe

# Recent views that stay open besides the present one, and the bytes on disk that they may use together.
MAX_VIEWS = 4
MAX_BYTES = 10**9

# Seconds; None is the beginning or the end of the video.
Range = tuple[float | None, float | None]
WHOLE: Range = (None, None)


@dataclass(frozen=True)
class Selection:
    """What the page has selected: a file, a frame budget and a range."""

    path: Path
    num_frames: int
    start_seconds: float | None = None
    end_seconds: float | None = None
    decoder: str = "pyav"
    has_numbers: bool = False

    @classmethod
    def from_fields(
        cls,
        path: str | None,
        num_frames: object,
        start: str | None,
        end: str | None,
        decoder: str,
        settings: Settings,
        has_numbers: bool = False,
    ) -> "Selection | None":
        """The selection in the page's fields; None without a file.

        Raises:
            DemoError: the budget is not 1 to `settings.max_frames`, a time is not valid, or the range is empty.
        """
        if not path:
            return None
        if not isinstance(num_frames, int | float) or not 1 <= num_frames <= settings.max_frames:
            raise DemoError(
                f"a budget of {short(num_frames)} frames is not possible", f"use 1 to {settings.max_frames:,}"
            )
        first, last = (parse_time(text) if text and text.strip() else None for text in (start, end))
        if last is not None and last <= (first or 0.0):
            raise DemoError(
                f"the end {short(end)} is not after the start {short(start or '0:00')}", "choose a later end"
            )
        return cls(Path(path), int(num_frames), first, last, decoder, bool(has_numbers))

    @property
    def is_whole(self) -> bool:
        """Whether no range is chosen."""
        return self.start_seconds is None and self.end_seconds is None

    def open_source(self, engine: Engine, settings: Settings, shown: Source | None = None) -> Source:
        """Probe and plan; only pictures are decoded yet. If `shown` is the same file, its probe is reused.

        Raises:
            DemoError: the file cannot be used, the range is outside it, or the budget does not fit.
        """
        limits = DecodeLimits.from_settings(settings)
        if is_picture(self.path):
            return ImageSource(self.path, engine.processor, limits)
        info = self.known_info(shown) or probe(self.path, limits=limits, decoder=self.decoder)
        plan = plan_frames(info, self.num_frames, self.start_seconds or 0.0, self.end_seconds)
        return VideoSource(info, plan, engine.processor, self.decoder, limits, self.has_numbers)

    def known_info(self, shown: Source | None) -> VideoInfo | None:
        """The info of `shown`, if it has the same file and the same decoder."""
        if not isinstance(shown, VideoSource) or (shown.info.path, shown.decoder) != (self.path, self.decoder):
            return None
        return shown.info

    def range_in(self, duration: float | None) -> Range:
        """The range in a file of `duration` seconds (None: a picture)."""
        is_open = self.end_seconds is None or duration is None or self.end_seconds >= duration
        return self.start_seconds or None, None if is_open else self.end_seconds


@dataclass(frozen=True)
class SampledView:
    """A selection with its frames and their thumbnails. `trail` leads from the whole video to the selected range."""

    selection: Selection
    source: Source
    sheets: Sheets
    trail: tuple[Range, ...] = (WHOLE,)
    held: tuple[Holding, ...] = ()  # of the quotas, as long as the view exists

    @property
    def is_complete(self) -> bool:
        """Whether all frames of a video were shown."""
        return self.source.kind == "video" and self.sheets.is_finished

    @property
    def value(self) -> Value:
        """What the page needs to fetch the frames and to draw the timeline."""
        return {**self.sheets.value, "duration": self.source.duration_seconds, "trail": self.trail}

    def resume(self) -> None:
        """Continue to prepare the model's pixels."""
        self.source.prefetch()

    def close(self) -> None:
        self.source.close()


class RecentViews:
    """The last complete views, oldest first, up to MAX_VIEWS and MAX_BYTES. Older ones are closed."""

    def __init__(self) -> None:
        self._views: list[SampledView] = []

    def find(self, selection: Selection) -> SampledView | None:
        return next((view for view in self._views if view.selection == selection), None)

    def add(self, view: SampledView) -> None:
        view.source.pause()
        self._views.append(view)
        if not view.is_complete:
            self._close(view)
        while len(self._views) > MAX_VIEWS or sum(view.source.num_bytes for view in self._views) > MAX_BYTES:
            self._close(self._views[0])

    def remove(self, selection: Selection) -> None:
        """Remove the view of `selection` without closing it, since the page shows it again."""
        self._views = [view for view in self._views if view.selection != selection]

    @property
    def files(self) -> set[Path]:
        return {view.selection.path for view in self._views}

    def close(self) -> None:
        while self._views:
            self._close(self._views[0])

    def __len__(self) -> int:
        return len(self._views)

    def _close(self, view: SampledView) -> None:
        self._views.remove(view)
        view.close()


def trail_to(new: Range, old: tuple[Range, ...]) -> tuple[Range, ...]:
    """The trail to the range `new`: those ranges of the trail `old` that contain it, then `new`.

    >>> trail_to((80.0, 100.0), (WHOLE, (60.0, 120.0), (60.0, 70.0)))
    ((None, None), (60.0, 120.0), (80.0, 100.0))
    >>> trail_to(WHOLE, (WHOLE, (60.0, 120.0)))
    ((None, None),)
    """

    def bounds(range_: Range) -> tuple[float, float]:
        start, end = range_
        return start or 0.0, float("inf") if end is None else end

    first, last = bounds(new)
    outer = [range_ for range_ in old if range_ != new and bounds(range_)[0] <= first and last <= bounds(range_)[1]]
    return (*outer, new) if WHOLE in outer or new == WHOLE else (WHOLE, *outer, new)
