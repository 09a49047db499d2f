"""A chat as one self-contained HTML file, without scripts or links. Every text in it is escaped."""

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from longva_demo.chat import ChatRecord, ImageSource, Source, VideoSource
from longva_demo.chat.record import AttributedFrame, Exchange, Media
from longva_demo.page.formatting import duration as took
from longva_demo.page.formatting import plural, size
from longva_demo.page.jpeg import data_url
from longva_demo.page.transcript import BlindCheck, ComparedBudget, Comparison, TurnEntry
from longva_demo.times import format_time

# The strip holds at most this many frames, spread evenly over the sampled ones; their longer side in pixels.
MAX_THUMBNAILS, SIDE = 24, 168
NO_ANSWER = "(no answer)"

STYLE = """
:root { color-scheme: light dark; --ink: #17181c; --muted: #5f6168; --line: #dddcd8; --paper: #fff; --wash: #f5f4f1;
  --film: #15161a; --edge: #f0b450; --mono: ui-monospace, Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { :root { --ink: #ecece8; --muted: #a0a2aa; --line: #2d2f37; --paper: #101114;
  --wash: #1b1c21; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 system-ui, sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 820px; margin: 0 auto; padding: 32px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
.date { margin: 0 0 28px; color: var(--muted); font-size: 14px; }
section + section { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 28px; }
h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 13px; font-weight: 600; margin: 0; color: var(--muted); }
ol { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)); gap: 6px;
  margin: 14px 0 4px; padding: 10px; border-radius: 8px; background: var(--film); }
ol img { display: block; width: 100%; border-radius: 3px; }
ol span { font: 11px/1.7 var(--mono); color: var(--edge); }
.note { margin: 0 0 14px; font-size: 13px; color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 13px; margin: 10px 0 26px; }
dt { color: var(--muted); }
dd { margin: 0; }
article { margin: 0 0 26px; }
p { margin: 0; }
.question { width: fit-content; max-width: 86%; margin: 0 0 10px auto; padding: 8px 14px; border: 1px solid var(--line);
  border-radius: 14px 14px 3px 14px; background: var(--wash); white-space: pre-wrap; }
.answer { white-space: pre-wrap; }
.blind { margin-top: 10px; padding: 8px 14px; border-left: 3px solid var(--line); white-space: pre-wrap; }
table { border-collapse: collapse; margin-top: 10px; font-size: 14px; width: 100%; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.stopped { color: var(--muted); font-size: 13px; }
"""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data URL. Only frames of a video have a time."""

    seconds: float | None
    url: str


@dataclass(frozen=True)
class ChatSection:
    """The chat about one selection, with the transcript's entry of each turn."""

    record: ChatRecord
    thumbnails: tuple[Thumbnail, ...]
    entries: tuple[TurnEntry, ...]


def make_thumbnails(source: Source | None, attribution: Iterable[AttributedFrame] = ()) -> tuple[Thumbnail, ...]:
    """At most MAX_THUMBNAILS frames as the model was given them, plus those of `attribution`."""
    if isinstance(source, ImageSource):
        return (Thumbnail(None, data_url(source.image, 2 * SIDE)),)
    if isinstance(source, VideoSource):
        return tuple(video_thumbnails(source, {item.seconds for item in attribution}))
    return ()


def video_thumbnails(source: VideoSource, wanted: set[float]) -> Iterator[Thumbnail]:
    seconds = source.seconds
    positions = set(np.linspace(0, len(seconds) - 1, min(MAX_THUMBNAILS, len(seconds)), dtype=int).tolist())
    positions |= {position for position, second in enumerate(seconds) if second in wanted}
    for position in sorted(positions):
        yield Thumbnail(seconds[position], data_url(Image.fromarray(source.stored_frame(position)), SIDE))


def to_html(chats: list[ChatSection]) -> str:
    """The page. Its content security policy forbids scripts and remote content, in case some markup is not escaped."""
    assert chats, "an empty chat is not saved"
    last = chats[-1].record
    title = escape(f"Chat about {last.media.name}" if last.media else "Chat with LongVA")
    sections = "\n".join(section(chat, with_heading=len(chats) > 1) for chat in chats)
    date = datetime.fromisoformat(last.saved).astimezone(UTC)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body><main>
<h1>{title}</h1>
<p class="date">Saved on {date:%Y-%m-%d at %H:%M} UTC, from the LongVA demo</p>
{sections}
</main></body>
</html>
"""


def section(chat: ChatSection, with_heading: bool) -> str:
    record = chat.record
    name = escape(record.media.name if record.media else "Without a video")
    heading = f"<h2>{name}</h2>\n" if with_heading else ""
    turns = "\n".join(
        article(turn, entry, chat.thumbnails) for turn, entry in zip(record.turns, chat.entries, strict=True)
    )
    return f"<section>\n{heading}{strip(chat)}\n{facts(record)}\n{turns}\n</section>"


def strip(chat: ChatSection) -> str:
    frames = chat.record.media.frames if chat.record.media else None
    shown = len(chat.thumbnails)
    if frames is None or shown == len(frames.indices):
        note = ""
    else:
        note = f'<p class="note">{shown} of the {len(frames.indices):,} frames that the model was given.</p>'
    return film(chat.thumbnails) + note


def film(thumbnails: Iterable[Thumbnail], weights: dict[float, float] | None = None) -> str:
    """Pictures with their times and, where there is one, their share of the attention."""
    items = []
    for thumbnail in thumbnails:
        words = [] if thumbnail.seconds is None else [format_time(thumbnail.seconds, 1)]
        if weights and thumbnail.seconds is not None:
            words.append(f"{weights[thumbnail.seconds]:.0%}")
        text = escape(" · ".join(words))
        items.append(f'<li><img src="{escape(thumbnail.url)}" alt="Frame {text}"><span>{text}</span></li>')
    return f"<ol>{''.join(items)}</ol>" if items else ""


def facts(record: ChatRecord) -> str:
    """Everything that is needed to ask the same questions again, as a definition list."""
    model, first = record.model, record.turns[0]
    rows = [
        *(media_facts(record.media) if record.media else ()),
        ("Model", f"{model.id}, revision {model.revision}"),
        ("Weights", f"{model.dtype}, quantised: {model.quant}"),
        ("Sampling", f"temperature {first.temperature:g}, top-p {first.top_p:g}, {first.max_new_tokens} tokens"),
    ]
    return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in rows) + "</dl>"


def media_facts(media: Media) -> Iterator[tuple[str, str]]:
    yield "File", f"{media.name}, {size(media.size_bytes)}"
    yield "SHA-256", media.sha256
    if media.frames is not None:
        frames = media.frames
        span = f"from {format_time(frames.start_seconds, 1)} to {format_time(frames.end_seconds, 1)}"
        yield "Frames", f"{plural(len(frames.indices), 'frame')} {span}, budget {frames.budget:,}, by {frames.decoder}"


def article(turn: Exchange, entry: TurnEntry, thumbnails: tuple[Thumbnail, ...]) -> str:
    stopped = '<p class="stopped">Stopped early.</p>' if turn.stopped else ""
    weights = {item.seconds: item.weight for item in turn.attribution}
    used_frames = film((thumbnail for thumbnail in thumbnails if thumbnail.seconds in weights), weights)
    heading = "<h3>Frames the answer relied on</h3>" if used_frames else ""
    note = f'<p class="note">{escape(turn.attribution_note)}</p>' if turn.attribution_note else ""
    return (
        f'<article>\n<p class="question">{escape(turn.question)}</p>\n<p class="answer">{escape(turn.answer)}</p>\n'
        f"{stopped}{heading}{used_frames}{note}{blind(entry.blind)}{table(entry.comparison)}</article>"
    )


def blind(check: BlindCheck | None) -> str:
    if check is None:
        return ""
    return f'<div class="blind"><h3>Without the video</h3>{escape(check.answer or NO_ANSWER)}</div>'


def table(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    rows = "".join(f"<tr>{cells(row)}</tr>" for row in comparison.rows)
    head = "".join(f"<th>{name}</th>" for name in ("Frames", "Answer", "Time", "Tokens"))
    return f"<table><tr>{head}</tr>{rows}</table>"


def cells(row: ComparedBudget) -> str:
    texts = (f"{row.frames:,}", row.answer or NO_ANSWER, took(row.duration), f"{row.tokens:,}")
    return "".join(f"<td>{escape(text)}</td>" for text in texts)


def escape(text: str) -> str:
    return html.escape(text, quote=True)
