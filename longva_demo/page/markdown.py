"""Answers as HTML: Markdown by markdown-it-py, sanitised by nh3, with the times that a model names as buttons."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from longva_demo.chat import Source, VideoSource
from longva_demo.times import parse_time

# "1:05", "1:02:03.5", but not "10:30 am" or "3:2"; "at 42 seconds"; "frame 17".
MOMENT = re.compile(
    r"(?<![\w:.])(?P<clock>(?:\d{1,2}:)?[0-5]?\d:[0-5]\d(?:\.\d{1,6})?)(?!\w|:\d|\s?[ap]\.?m\b)"
    r"|\bat (?:about |around )?(?P<seconds>\d{1,6}(?:\.\d{1,6})?) ?(?:seconds?|secs?|s)\b"
    r"|\bframe (?:number |no\. |#)?(?P<frame>\d{1,6})\b",
    re.IGNORECASE,
)
TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td", "a", "span", "button"),
}
ATTRIBUTES = {
    "a": {"href", "target"},
    "span": {"class"},
    "button": {"class", "type", "data-seconds"},
    "ol": {"start"},
}
# Headings of an answer are below the page's own.
HEADING_OFFSET = 2


@dataclass(frozen=True)
class Moments:
    """Which times an answer may link to: those of a video of `duration` seconds, and its frames at `seconds`."""

    duration: float
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, source: Source | None) -> "Moments | None":
        """None without a video."""
        if not isinstance(source, VideoSource):
            return None
        return cls(source.info.duration_seconds, tuple(source.seconds))

    def find(self, match: re.Match[str]) -> float | None:
        """The seconds that a match of MOMENT names; None outside the video."""
        if match["frame"]:
            number = int(match["frame"])
            return self.seconds[number - 1] if 1 <= number <= len(self.seconds) else None
        seconds = parse_time(match["clock"] or match["seconds"])
        return seconds if seconds <= self.duration else None


@lru_cache(maxsize=256)
def to_html(text: str, moments: Moments | None = None) -> str:
    """The answer `text`, which may be unfinished. Markup is shown as text, pictures are links, and line breaks stay.

    Links are absolute, open a new tab, and name the host to which they lead. With `moments`, each time inside the video
    is a `button.moment` with `data-seconds`.
    """
    html = make_parser().render(text, {"moments": moments})
    return nh3.clean(html, tags=TAGS, attributes=ATTRIBUTES, url_schemes={"http", "https"}).strip()


class Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        return is_absolute(url)


@lru_cache(maxsize=1)
def make_parser() -> Parser:
    parser = Parser("commonmark", {"html": False, "breaks": True})
    parser.enable(["table", "strikethrough"])
    # Models indent and underline by accident.
    parser.disable(["image", "code", "lheading"])
    for rule in (lower_headings, name_hosts, link_moments):
        parser.core.ruler.push(rule.__name__, rule)
    return parser


def is_absolute(address: str) -> bool:
    """Whether a link leads to another site. A link to a path of this server stays text."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "%" not in str(parts.hostname)
    except ValueError:
        return False


def lower_headings(state: StateCore) -> None:
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + HEADING_OFFSET)}"


def name_hosts(state: StateCore) -> None:
    """Append the host to each link, whose text may say anything."""

    def with_hosts(children: list[Token]) -> Iterator[Token]:
        host = ""
        for token in children:
            if token.type == "link_open":
                token.attrSet("target", "_blank")
                host = urlsplit(str(token.attrGet("href"))).hostname or ""
            if token.type == "link_close":
                yield Token("text", "", 0, content=" ")
                yield from element("span", {"class": "host"}, f"({host})")
            yield token

    change_inline(state, with_hosts)


def link_moments(state: StateCore) -> None:
    """Turn the times in texts into buttons; code and links stay as they are."""
    moments: Moments | None = state.env["moments"]
    if moments is None:
        return

    def with_buttons(children: list[Token]) -> Iterator[Token]:
        depth = 0  # inside a link
        for token in children:
            depth += token.nesting if token.type.startswith("link_") else 0
            if token.type == "text" and not depth:
                yield from split(token.content, moments)
            else:
                yield token

    change_inline(state, with_buttons)


def split(text: str, moments: Moments) -> Iterator[Token]:
    end = 0
    for match in MOMENT.finditer(text):
        seconds = moments.find(match)
        if seconds is None:
            continue
        yield Token("text", "", 0, content=text[end : match.start()])
        yield from element(
            "button", {"type": "button", "class": "moment", "data-seconds": str(round(seconds, 3))}, match[0]
        )
        end = match.end()
    yield Token("text", "", 0, content=text[end:])


def element(tag: str, attributes: dict[str, str], text: str) -> Iterator[Token]:
    yield Token(f"{tag}_open", tag, 1, attrs={**attributes})
    yield Token("text", "", 0, content=text)
    yield Token(f"{tag}_close", tag, -1)


def change_inline(state: StateCore, change: Callable[[list[Token]], Iterator[Token]]) -> None:
    for token in state.tokens:
        if token.children:
            token.children = list(change(token.children))
