"""Texts that end an answer, such as "\\n" or "User:"."""

from collections.abc import Sequence


class StopTexts:
    """Passes an answer through, up to the first of `stops`.

    >>> texts = StopTexts(["END"])
    >>> texts.add("one E"), texts.add("N two EN"), texts.add("D three"), texts.found
    ('one ', 'EN two ', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""  # may be the beginning of a stop text
        self.found = False

    def add(self, text: str) -> str:
        """The part that can be shown. Nothing comes after a stop text."""
        if self.found:
            return ""
        text = self._held + text
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        num_held = max((self._overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def finish(self) -> str:
        """What was held back, at the end of the answer."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """How many characters at the end of `text` begin `stop`."""
        return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
