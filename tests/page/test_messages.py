"""The catalogues are complete, and no text of the page is outside them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest

import longva_demo.page
from longva_demo.page.i18n import CATALOGUES, message

FOLDER = Path(longva_demo.page.__file__).parent
ENGLISH = CATALOGUES["en"]
OTHERS = [language for language in CATALOGUES if language != "en"]

# Keys in a source file. Braces hold a part that is filled in at run time: `tool.${name}`, f"chat.hint{kind}".
KEY = {
    ".py": re.compile(r'(?<=")([a-z]+\.(?:[a-z_]|\{[^{}]*\})+)(?=")'),
    ".js": re.compile(r'(?<=["`])([a-z]+\.(?:[a-z_]|\$\{[^{}]*\})+)(?=["`])'),
    ".html": re.compile(r'(?<=say\(")([a-z]+\.[a-z_]+)(?=")'),
}

# The same in every language.
NAMES = re.compile(
    r"LongVA|HTML|JSON|CSV|SRT|TXT|WebVTT|Markdown|<code>.*?</code>|<kbd>.*?</kbd>|<option [^>]*lang=.*?</option>"
)


def slots(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", OTHERS)
def test_catalogues_have_the_same_keys_and_slots(language: str) -> None:
    catalogue = CATALOGUES[language]
    assert list(catalogue) == list(ENGLISH)
    for key, text in catalogue.items():
        assert slots(text) == slots(ENGLISH[key]), key
        assert text.strip() == text != "", key
        assert not re.search(r'[<>&"]', text), f"{key} goes into markup"
    same = [key for key in catalogue if catalogue[key] == ENGLISH[key]]
    assert len(same) < 0.12 * len(catalogue), same


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in KEY:
            yield path, path.read_text("utf-8")


def test_every_key_exists_and_is_used() -> None:
    keys = {key.removesuffix(".one").removesuffix(".other") for key in ENGLISH}
    groups = {key.split(".")[0] for key in keys}
    named = {
        key for path, source in sources() for key in KEY[path.suffix].findall(source) if key.split(".")[0] in groups
    }
    assert {key for key in named if "{" not in key and not key.endswith(".js")} <= keys
    used = re.compile("|".join(re.sub(r"(\\\$)?\\\{.*?\\\}", r"\\w*", re.escape(key)) for key in named))
    assert [key for key in keys if not used.fullmatch(key)] == []


def test_a_message_needs_an_existing_key() -> None:
    assert message("count.frames", count=2) == {"key": "count.frames", "count": 2}
    with pytest.raises(AssertionError, match="no message"):
        message("count.sheep")


class Texts(HTMLParser):
    """The texts of a template: its text nodes, and the attributes that people read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        read = ("title", "aria-label", "alt", "placeholder", "data-label")
        self.found += [value or "" for name, value in attrs if name in read]


def test_templates_contain_no_text() -> None:
    templates = sorted(FOLDER.rglob("template.html"))
    assert len(templates) >= 8
    for path in templates:
        texts = Texts()
        template = re.sub(r"\{\{[a-z]+\}\}", "", NAMES.sub("", path.read_text("utf-8")))
        texts.feed(re.sub(r"\$\{.*?\}(?!\))", "", template, flags=re.DOTALL))
        assert not re.search("[^\\W\\d_]", "".join(texts.found)), f"{path.parent.name}: {texts.found}"


def test_styles_contain_no_text() -> None:
    styles = sorted(FOLDER.rglob("style.css"))
    assert len(styles) >= 10
    for path in styles:
        assert re.findall(r'content: "[^"]*[^\W\d_][^"]*"', path.read_text("utf-8")) == [], path.parent.name


def test_scripts_contain_no_sentences() -> None:
    # Markup, selectors, keyboard keys, console messages, drag types, and magic numbers and extensions of files.
    allowed = re.compile(
        r"<|^[#.(]|^(Enter|Escape|AbortError|PageUp|PageDown)$|^the frames could not be fetched"
        r"|^the question was withdrawn|^the connection was lost|^the field did not change|^the server's stream "
        r"|^input, textarea|^footer img$|^Files$|^(mp4 m4v|nut ivf) |^(OggS|RIFF|GIF8)$"
    )
    for path, source in sources():
        if path.suffix != ".js":
            continue
        code = re.sub(r"(^|\s)//.*", "", source)
        for text in re.findall(r'"([^"\n]*)"', code) + re.findall(r"`([^`\n]*)`", code):
            words = re.sub(r"\$\{[^}]*\}", "", text)
            is_text = re.search(r"[A-Za-z]{2,}[,:;]? [a-z]{2,}|^[A-Z][a-z]+", words)
            assert not is_text or allowed.search(text), f"{path.name}: {text!r}"
