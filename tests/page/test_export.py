"""The saved page is complete, self-contained, and free of markup from users, the model or file names."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, ImageSource, LocalEngine, VideoSource
from longva_demo.chat.record import AttributedFrame, ChatRecord, Exchange, Frames, Media, ModelFacts
from longva_demo.page.export import MAX_THUMBNAILS, ChatSection, Thumbnail, make_thumbnails, to_html
from longva_demo.page.save import make_file
from longva_demo.page.transcript import BlindCheck, ComparedBudget, Comparison, TurnEntry
from longva_demo.timed_text import Line
from longva_demo.video import plan_frames, probe

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title></p><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "javascript:alert(1) &lt;script&gt; &#60;b&#62;",
    "<!-- <iframe srcdoc='<script>alert(1)</script>'>",
    "]]> <?php ?> \u2028 \x00 \U0001f39e",
)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "article", "div", "h1", "h2", "h3", "p"),
    *("ol", "li", "img", "span", "dl", "dt", "dd", "table", "tr", "th", "td"),
}
ATTRIBUTES = {"charset", "http-equiv", "content", "name", "lang", "class", "src", "alt"}


class Reader(HTMLParser):
    """Collects texts and pictures like a browser, and fails on everything that is not known to be harmless."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attributes} <= ATTRIBUTES, attributes
        if tag == "img":
            source = dict(attributes)["src"] or ""
            assert source.startswith("data:image/jpeg;base64,")
            self.pictures.append(base64.b64decode(source.partition(",")[2], validate=True))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        pytest.fail(f"a declaration: {data}")

    def handle_pi(self, data: str) -> None:
        pytest.fail(f"an instruction: {data}")


def jpeg_url() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def make_chat(hostile: str) -> ChatSection:
    """A chat in which every text is `hostile`."""
    frames = Frames(8, 4.0, 0.0, 4.0, "pyav", (0, 10), (0.0, 1.5), False)
    turn = Exchange(hostile, hostile, 0.0, 1.0, 256, 7, True, (AttributedFrame(1.5, 0.62),), hostile, ())
    record = ChatRecord(
        "2026-11-22T21:00:00+00:00",
        Media(hostile, "0" * 64, 10, frames),
        ModelFacts(hostile, hostile, "none", "float32"),
        (turn,),
    )
    comparison = Comparison((ComparedBudget(8, hostile, 0.5, 100),))
    lines = (Line(62.0, 63.0, hostile, "screen"),)
    entry = TurnEntry(hostile, hostile, lines=lines, blind=BlindCheck(hostile), comparison=comparison)
    return ChatSection(record, (Thumbnail(0.0, jpeg_url()), Thumbnail(1.5, jpeg_url())), (entry,))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_stay_texts(hostile: str) -> None:
    chat = make_chat(hostile)
    page = to_html([chat, chat])
    reader = Reader(page)
    # In each of two chats: heading, file, model, revision, question, answer, note, line, blind answer, one in a table.
    shown = hostile.replace("\x00", "\ufffd")
    found = "".join(reader.texts).replace("\x00", "\ufffd").count(shown)
    assert found >= 2 * 10, found
    assert "default-src 'none'" in page
    assert len(reader.pictures) == 2 * (2 + 1), "the strip, and the frame that the answer relied on"


def test_the_reader_catches_texts_that_are_not_escaped() -> None:
    page = to_html([make_chat("harmless")])
    for hostile in HOSTILE[:3]:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            Reader(page.replace("harmless", hostile))


def test_the_strip_is_limited_and_contains_attributed_frames(engine: LocalEngine, clip: Path) -> None:
    info = probe(clip)
    source = VideoSource(info, plan_frames(info, 60), engine.processor)
    list(source.frames())
    seconds = source.seconds[1]
    few = make_thumbnails(source)
    assert len(few) == MAX_THUMBNAILS
    assert (few[0].seconds, few[-1].seconds) == (source.seconds[0], source.seconds[-1])
    more = make_thumbnails(source, [AttributedFrame(seconds, 0.5)])
    assert seconds in [one.seconds for one in more]
    assert sum(len(one.url) for one in more) < 400_000
    picture = Image.open(io.BytesIO(base64.b64decode(few[5].url.partition(",")[2])))
    assert max(picture.size) == engine.processor.image_size
    source.close()


def test_a_picture_has_one_thumbnail_and_text_has_none(engine: LocalEngine, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (900, 300), "green").save(file)
    [only] = make_thumbnails(ImageSource(file, engine.processor))
    assert only.seconds is None
    assert make_thumbnails(ChatSession(engine).source) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip.mp4", "clip-chat.json"),
        ("..\\a\\b.mp4", "a-b-chat.json"),
        ("<b>my & clip.mp4", "b-my-clip-chat.json"),
        ("...", "longva-chat.json"),
        ("名前.webm", "名前-chat.json"),
    ],
)
def test_the_file_is_named_after_the_video(name: str, expected: str) -> None:
    part = make_chat("x")
    assert part.record.media is not None
    named = replace(part, record=replace(part.record, media=replace(part.record.media, name=name)))
    assert make_file([named], "json")["name"] == expected
