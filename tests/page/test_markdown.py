"""Answers as HTML: what Markdown, hostile texts and times become."""

from html.parser import HTMLParser

import pytest

from longva_demo.page.markdown import ATTRIBUTES, TAGS, Moments, to_html

MINUTE_AND_A_HALF = Moments(90.0, (0.0, 1.0, 2.5))


class Reader(HTMLParser):
    """The tags of a text, its links, and the buttons with their seconds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.moments: list[tuple[float, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        found = dict(attrs)
        assert set(found) <= ATTRIBUTES.get(tag, set()) | ({"rel"} if tag == "a" else set())
        self.tags.append(tag)
        if tag == "a":
            assert found["target"] == "_blank"
            assert "noopener" in (found["rel"] or "")
            self.links.append(found["href"] or "")
        if tag == "button":
            self.moments.append((float(found["data-seconds"] or "nan"), ""))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.moments and not self.moments[-1][1]:
            self.moments[-1] = (self.moments[-1][0], data)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("A red circle.", ["p"]),
        ("One line\nand another.", ["p", "br"]),
        ("A **bold** claim in `code`.", ["p", "strong", "code"]),
        ("- one\n- two\n\n3. three", ["ul", "li", "li", "ol", "li"]),
        ("# A heading", ["h3"]),
        ("###### The smallest", ["h6"]),
        ("| a |\n|---|\n| 1 |", ["table", "thead", "tr", "th", "tbody", "tr", "td"]),
        ("```python\nx = '<b>'\n```", ["pre", "code"]),
        ("    indented by accident", ["p"]),
        ("underlined\n---", ["p", "hr"]),
        ("unfinished **bo", ["p"]),
        ("", []),
    ],
)
def test_markdown_becomes_these_tags(text: str, tags: list[str]) -> None:
    assert Reader(to_html(text)).tags == tags


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](/logout)",
        "[x](//evil.example)",
        "[x](https:///logout)",
        "<button class=moment data-seconds=3>9:03</button>",
        "<!-- <b> -->",
        "[x](file:///etc/passwd)",
        "[x]( https://[evil )",
    ],
)
def test_markup_and_links_that_stay_here_are_texts(text: str) -> None:
    shown = Reader(to_html(text, MINUTE_AND_A_HALF))
    assert shown.tags == ["p"]
    assert shown.text == text


def test_a_picture_is_a_link_that_is_not_fetched() -> None:
    shown = Reader(to_html("![a cat](https://pictures.example/cat.png)"))
    assert shown.tags == ["p", "a", "span"]
    assert shown.links == ["https://pictures.example/cat.png"]


def test_a_link_names_its_host_whatever_its_text_says() -> None:
    shown = Reader(to_html("[bank.example](https://evil.example/login)"))
    assert shown.links == ["https://evil.example/login"]
    assert shown.text == "bank.example (evil.example)"


@pytest.mark.parametrize(
    ("text", "moments"),
    [
        ("It starts at 0:42.", [(42.0, "0:42")]),
        ("**0:42**–0:50.5", [(42.0, "0:42"), (50.5, "0:50.5")]),
        ("At 42 seconds, or at about 7.5 s", [(42.0, "At 42 seconds"), (7.5, "at about 7.5 s")]),
        ("In frame 3 and Frame #1", [(2.5, "frame 3"), (0.0, "Frame #1")]),
        ("At 0:05: a star", [(5.0, "0:05")]),
        ("0:01:05", [(65.0, "0:01:05")]),
        ("At 1:31, frame 4, frame 0, at 91 seconds: past the end", []),
        ("It is 1:10 pm; the score is 3:2; it lasts 42 seconds; 16:9; 1:2:3:4", []),
        ("`0:42` and [0:42](https://a.example)", []),
        (f"frame {'9' * 6000} at {'9' * 6000} seconds, 0:42", [(42.0, "0:42")]),
    ],
)
def test_only_times_inside_the_video_are_buttons(text: str, moments: list[tuple[float, str]]) -> None:
    shown = Reader(to_html(text, MINUTE_AND_A_HALF))
    assert shown.moments == moments
    assert Reader(to_html(text)).moments == []
    assert shown.text == Reader(to_html(text)).text
