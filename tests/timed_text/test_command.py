"""`longva-demo words`, `longva.words` and /words, with a video that has subtitles."""

import json
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import longva_demo as longva
from longva_demo.cli.main import main
from longva_demo.timed_text import packages
from tests.timed_text.subtitled import Cue, Track, add_tracks

CUES: list[Cue] = [
    (1.0, 2.5, "A red star appears."),
    (3.25, 4.0, "Größe: 12 €"),
    (6.0, 9.0, "The star <b>runs</b> away"),
]
ITEMS = [
    {"start": 1.0, "end": 2.5, "text": "A red star appears.", "source": "subtitles"},
    {"start": 3.25, "end": 4.0, "text": "Größe: 12 €", "source": "subtitles"},
    {"start": 6.0, "end": 9.0, "text": "The star runs away", "source": "subtitles"},
]


@pytest.fixture(scope="module")
def subtitled(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_tracks(numbered, tmp_path_factory.mktemp("words") / "clip.mkv", Track("subrip", CUES, "eng"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    try:
        code = main(["words", *map(str, arguments)])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def test_json_is_a_list_sorted_by_start(subtitled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = run(capsys, subtitled, "--sources", "subtitles", "--json")
    assert code == 0, errors
    assert json.loads(output) == ITEMS
    assert errors == "note: The subtitles are those of clip.mkv (SubRip, eng).\n"


def test_plain_output_and_files(subtitled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (subtitled, "--sources", "subtitles")
    code, output, _ = run(capsys, *flags)
    assert code == 0
    assert output.splitlines()[0].split() == ["0:01.0", "–", "0:02.5", "subtitles", "A", "red", "star", "appears."]
    assert run(capsys, *flags, "--format", "txt")[1].splitlines()[2] == "0:06  The star runs away"
    srt, vtt = (run(capsys, *flags, "--format", kind)[1] for kind in ("srt", "vtt"))
    assert srt.startswith("1\n00:00:01,000 --> 00:00:02,500\nA red star appears.\n")
    assert vtt.startswith("WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\n")


def test_search_range_and_a_given_file(subtitled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (subtitled, "--sources", "subtitles", "--json")
    assert json.loads(run(capsys, *flags, "--search", "run")[1]) == ITEMS[2:]
    assert json.loads(run(capsys, *flags, "--search", "groesse")[1]) == ITEMS[1:2]
    _, output, errors = run(capsys, *flags, "--search", "zebra")
    assert json.loads(output) == []
    assert "note: no line matches 'zebra'; 3 searched\n" in errors
    assert json.loads(run(capsys, *flags, "--start", "0:03", "--end", "5")[1]) == ITEMS[1:2]
    file = tmp_path / "other.vtt"
    file.write_text("WEBVTT\n\n00:02.000 --> 00:03.000\nother\n")
    [item] = json.loads(run(capsys, *flags, "--subtitles", file)[1])
    assert item == {"start": 2.0, "end": 3.0, "text": "other", "source": "subtitles"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--sources", "radio"), "'radio' is not a valid source; use subtitles, speech, screen"),
        (("--sources", ","), "no source is named"),
        (("--sources", "subtitles", "--subtitles", "missing.srt"), "missing.srt does not exist"),
        (("--sources", "screen", "--subtitles", "a.srt"), "add it to --sources"),
        (("--sources", "subtitles", "--start", "99"), "99"),
        (("--frames", "0"), "0 is not a valid frame budget"),
        (("--json", "--format", "srt"), "not allowed with"),
        (("--format", "pdf"), "pdf"),
    ],
)
def test_bad_input_is_one_line(
    flags: tuple[str, ...], words: str, subtitled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, errors = run(capsys, subtitled, *flags)
    assert (code, output) == (2, "")
    assert len(errors.strip().splitlines()) == 1
    assert words in errors


def test_a_missing_package_is_named(
    subtitled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packages.PACKAGES, "subtitles", ("no_such_package",))
    code, output, errors = run(capsys, subtitled, "--sources", "subtitles")
    assert (code, output) == (2, "")
    assert errors == ("longva-demo: reading subtitles needs no_such_package; run pip install 'longva-demo[words]'\n")


def test_python(subtitled: Path) -> None:
    lines = longva.words(subtitled, "subtitles")
    assert [line.to_dict() for line in lines] == ITEMS
    assert isinstance(lines[0], longva.Line)
    assert longva.words(subtitled, ["subtitles"], search="größe") == lines[1:2]
    assert longva.words(subtitled, "subtitles", start="0:05", end=10) == lines[2:]
    with pytest.raises(longva.DemoError, match="'radio' is not a valid source"):
        longva.words(subtitled, "radio")
    with pytest.raises(longva.DemoError, match=r"nowhere\.mp4"):
        longva.words("nowhere.mp4")


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


@pytest.mark.slow
def test_http(client: Client, subtitled: Path, tmp_path: Path) -> None:
    call = {"api_name": "/words", "sources": "subtitles"}
    assert client.predict(video=handle_file(subtitled), **call) == ITEMS
    assert client.predict(video=handle_file(subtitled), search="stars", **call) == [ITEMS[0], ITEMS[2]]
    assert client.predict(video=handle_file(subtitled), start="3", end="0:05", **call) == ITEMS[1:2]
    file = tmp_path / "other.srt"
    file.write_bytes("1\n00:00:02,000 --> 00:00:03,000\nGrüße\n".encode("cp1252"))
    [item] = client.predict(video=handle_file(subtitled), subtitles=handle_file(file), **call)
    assert item == {"start": 2.0, "end": 3.0, "text": "Grüße", "source": "subtitles"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"sources": "radio"}, "radio.* is not a valid source"),
        ({"num_frames": 0}, "a budget of 0"),
        ({"num_frames": 10**9}, "a budget of 1000000000"),
        ({"start": "noon"}, "noon.* is not a valid time"),
        ({"search": "x" * 3_000_000}, "413 Request Entity Too Large"),
        ({"subtitles": "clip"}, "clip.mkv is not a subtitle file"),
    ],
)
def test_http_errors_are_one_line(client: Client, subtitled: Path, inputs: dict[str, object], words: str) -> None:
    inputs = {"sources": "subtitles"} | inputs
    if "subtitles" in inputs:
        inputs["subtitles"] = handle_file(subtitled)
    with pytest.raises((AppError, Exception), match=words):
        client.predict(video=handle_file(subtitled), api_name="/words", **inputs)


@pytest.mark.slow
def test_the_log_has_counts_and_no_texts(client: Client, subtitled: Path, server_log: Path) -> None:
    client.predict(video=handle_file(subtitled), sources="subtitles", search="appears", api_name="/words")
    lines = [json.loads(line) for line in server_log.read_text().splitlines() if line.startswith("{")]
    entry = [line for line in lines if line.get("event") == "words"][-1]
    assert (entry["sources"], entry["lines"], entry["outcome"]) == (["subtitles"], 3, "done")
    assert "star" not in server_log.read_text()
    assert "appears" not in server_log.read_text()
