"""The page on which visitors log in, if the server has a password."""

import json
from pathlib import Path

import jinja2

from longva_demo.page.i18n import CATALOGUES

TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    Path(__file__).with_name("form.html").read_text("utf-8")
)


def login_page(accepted_languages: str) -> str:
    """The page as HTML, in the first language of an Accept-Language header that has a catalogue, else in English."""
    wanted = (part.split(";")[0].split("-")[0].strip().lower() for part in accepted_languages.split(","))
    language = next((one for one in wanted if one in CATALOGUES), "en")
    return TEMPLATE.render(language=language, say=CATALOGUES[language].__getitem__, json=json.dumps)
