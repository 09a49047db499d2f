"""The optional packages that each source of lines needs."""

from importlib.util import find_spec

from longva_demo.errors import DemoError

PACKAGES = {
    "subtitles": ("pysubs2", "chardet"),
    "speech": ("faster_whisper",),
    "screen": ("rapidocr", "onnxruntime"),
    "search": ("bm25s", "Stemmer", "rapidfuzz"),
}
PURPOSES = {
    "subtitles": "reading subtitles",
    "speech": "recognising speech",
    "screen": "reading text in the frames",
    "search": "searching in the lines",
}
INSTALL = "run pip install 'longva-demo[words]'"


def is_installed(purpose: str) -> bool:
    return all(find_spec(package) is not None for package in PACKAGES[purpose])


def check_installed(purpose: str) -> None:
    """Raise DemoError, which says how to get it, if a package for this purpose is missing."""
    missing = [package for package in PACKAGES[purpose] if find_spec(package) is None]
    if missing:
        raise DemoError(f"{PURPOSES[purpose]} needs {' and '.join(missing)}", INSTALL)
