"""The command line as a newcomer and as a script use it, with the bundled model. Most commands run in this process."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from longva_demo import chat
from longva_demo.chat import ChatSession, LocalEngine, VideoSource, local_engine
from longva_demo.chat.record import record_chat
from longva_demo.cli.main import main
from longva_demo.model import LongVAConfig, load
from longva_demo.model.estimate import Estimate, ModelSize, ProcessorSpeed
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.chat.conftest import write_clip

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
SHAPES = EXAMPLES / "shapes.mp4"


@dataclass(frozen=True)
class Result:
    code: int
    output: str
    errors: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run_command(*arguments: str | Path) -> Result:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return Result(code, *capsys.readouterr())

    return run_command


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "longva_demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("cli") / "clip.mp4", seed=0)


def test_ask_prints_one_json_object() -> None:
    """In a process of its own: nothing else may reach standard output, from any library."""
    examples = json.loads((EXAMPLES / "examples.json").read_text())
    example = next(entry for entry in examples if entry["file"].endswith(".mp4"))
    question = example["questions"][0]
    video = EXAMPLES / example["file"]
    result = run_process("ask", video, question["question"], "--frames", "8", "--model", "tiny", "--json")
    assert result.returncode == 0, result.stderr
    reply = json.loads(result.stdout)
    assert reply["answer"].strip() == question["answer"]
    assert (reply["model"], reply["quant"]) == ("tiny", "none")
    assert len(reply["frames"]) == 8
    assert set(reply["frames"][0]) == {"index", "seconds"}
    assert reply["num_tokens"] > 8 * 9
    assert reply["seconds_to_first_token"] > 0
    assert reply["tokens_per_second"] > 0
    assert "reading frame 8 of 8" in result.stderr


def test_on_a_slow_processor_ask_says_how_long_it_takes(run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --frames the budget is what takes about a minute."""
    loaded = load("tiny")
    times = Estimate(ProcessorSpeed(200e9, 200e9, 20e9, 40e9), ModelSize.of(LongVAConfig()))
    monkeypatch.setattr(local_engine, "load", lambda *_: replace(loaded, estimate=times))
    for flags, count in (((), times.frames_within(60)), (("--frames", "9"), 9)):
        result = run("ask", clip, "What do you see?", *flags)
        assert result.code == 0, result.errors
        assert f"{count} frames: about {times.first_word(count):.0f} s to the first word" in result.errors
        assert f"reading frame {count} of {count}" in result.errors


def test_ask_streams_plain_text_about_a_picture(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "picture without suffix"
    Image.new("RGB", (84, 84), "red").save(picture, "PNG")
    result = run("ask", picture, "What is the background?", "--model", "tiny")
    assert result.code == 0, result.errors
    assert result.output.strip()


def test_frames_lists_indices_and_times(run: Run, clip: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    result = run("frames", clip, "--frames", "5", "--start", "0:02", "--json", "--sheet", sheet)
    assert result.code == 0, result.errors
    reply = json.loads(result.output)
    assert reply["video"]["num_frames"] == 60
    assert (reply["video"]["width"], reply["video"]["height"]) == (96, 64)
    assert [frame["index"] for frame in reply["frames"]] == [20, 29, 39, 49, 59]
    assert [frame["seconds"] for frame in reply["frames"]] == pytest.approx([2.0, 2.9, 3.9, 4.9, 5.9])
    with Image.open(sheet) as image:
        assert image.width > 3 * 96
    plain = run("frames", clip, "--frames", "100")
    assert "0:05.9" in plain.output
    assert "60 frames" in plain.errors, "a budget above the number of frames is reported"


def test_find_prints_ranges_or_json(run: Run) -> None:
    """The three things of the first example are there from the start to the end."""
    result = run("find", SHAPES, "a red star", "--frames", "20", "--model", "tiny", "--json")
    assert result.code == 0, result.errors
    found = json.loads(result.output)
    assert set(found) == {"frames", "ranges"}
    assert {name for frame in found["frames"] for name in frame} == {"index", "seconds", "score"}
    [whole] = found["ranges"]
    assert set(whole) == {"start", "end", "score", "best"}
    assert whole["start"] == 0
    assert "asking about frame 20 of 20" in result.errors
    table = run("find", SHAPES, "a red star", "--frames", "20", "--model", "tiny", "--format", "csv")
    assert table.output.splitlines()[0] == "start,end,score,best"
    chapters = run("find", SHAPES, "a red star", "--start", "0:01", "--model", "tiny", "--format", "vtt")
    assert chapters.output.startswith("WEBVTT\n\n00:00:01.000 --> ")
    assert "not found in 20 frames" in run("find", SHAPES, "a pink cross", "--frames", "20", "--model", "tiny").output
    unsure = run("find", SHAPES, "When does it end?", "--frames", "5", "--model", "tiny")
    assert "note: The model answered neither yes nor no" in unsure.errors


def test_chapters_print_a_list(run: Run) -> None:
    result = run("chapters", SHAPES, "--frames", "20", "--model", "tiny", "--json")
    assert result.code == 0, result.errors
    [whole] = json.loads(result.output)
    assert set(whole) == {"start", "end", "title"}
    assert whole["title"].startswith("I see a red star with 5 at the top left")
    assert run("chapters", SHAPES, "--model", "tiny", "--format", "md").output.startswith("- 0:00 I see a red star")
    assert run("chapters", SHAPES, "--model", "tiny", "--format", "vtt").output.startswith("WEBVTT\n")
    assert "I see a red star" in run("chapters", SHAPES, "--model", "tiny").output


def test_chapters_quote_what_is_said(run: Run, tmp_path: Path) -> None:
    subtitles = tmp_path / "said.srt"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:03,000\nThree <b>shapes</b> *now*.\n")
    flags = ("chapters", SHAPES, "--frames", "20", "--model", "tiny")
    assert " “Three shapes \\*now\\*.”\n" in run(*flags, "--words", subtitles, "--format", "md").output
    lines = run("words", SHAPES, "--sources", "subtitles", "--subtitles", subtitles, "--json").output
    (tmp_path / "said.json").write_text(lines)
    [whole] = json.loads(run(*flags, "--words", tmp_path / "said.json", "--json").output)
    assert whole["title"].endswith(" “Three shapes *now*.”")
    assert "“" not in run(*flags, "--words", "none").output


def test_unreadable_subtitles_beside_a_video_do_not_stop_a_question(run: Run, tmp_path: Path) -> None:
    """Nobody asked for them: --words is auto."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(SHAPES.read_bytes())
    (tmp_path / "clip.srt").write_text("notes of mine\n")
    result = run("ask", clip, "What number is on the yellow square?", "--frames", "4", "--model", "tiny")
    assert (result.code, result.output) == (0, "The number is 8.\n"), result.errors


def test_words_that_the_model_is_not_given_are_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "late.srt"
    file.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    flags = ("ask", SHAPES, "What number is on the yellow square?", "--frames", "4", "--model", "tiny", "--words", file)
    assert f"note: the built-in model cannot read lines; {file} is not used\n" in run(*flags).errors
    file.write_text("1\n00:01:01,000 --> 00:01:02,000\nhello\n")
    assert "note: Subtitles after the end of the video: 1 of 1.\n" in run(*flags).errors


def test_bad_words_are_told_before_the_model_is_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "open_engine", lambda _: pytest.fail("the model is loaded"))
    result = run("ask", SHAPES, "What?", "--words", "missing.srt")
    assert (result.code, result.output) == (2, "")
    assert "missing.srt does not exist" in result.errors


def test_a_haystack_without_room_for_near_misses_says_so(run: Run, tmp_path: Path) -> None:
    """Its cells are the plain test, beside published figures of the harder one."""
    cells = ("--frames", "4,201", "--depths", "0", "--num-needles", "1", "--no-attribution")
    result = run("niah", "--model", "tiny", *cells, "--distractors", "1", "--out", tmp_path / "run")
    assert result.code == 0, result.errors
    assert re.search(r"cells too small for a near miss +1 of 2\n", result.output)


BAD_INPUTS = [
    (("find", "missing.mp4", "a star"), "missing.mp4"),
    (("find", "{shapes}", " "), "nothing to find"),
    (("find", "{shapes}", "a star", "--precision", "0"), "precision"),
    (("find", "{shapes}", "a star", "--window", "99"), "window"),
    (("find", "{shapes}", "a star", "--frames", "0"), "0"),
    (("find", "{shapes}", "a star", "--start", "1:00:00"), "3600"),
    (("chapters", "missing.mp4"), "missing.mp4"),
    (("chapters", "{picture}"), "picture.png"),
    (("chapters", "{shapes}", "--words", "missing.srt"), "missing.srt"),
    (("ask", "missing.mp4", "What?"), "missing.mp4"),
    (("ask", "{text}", "What?"), "text.mp4"),
    (("ask", "{clip}", " "), "the question is empty"),
    (("ask", "{clip}", "What?", "--frames", "0"), "0 is not a valid num_frames"),
    (("ask", "{clip}", "What?", "--start", "5", "--end", "2"), "end"),
    (("ask", "{clip}", "What?", "--start", "noon"), "'noon' is not a valid time"),
    (("ask", "{clip}", "What?", "--model", "{folder}"), "config.json"),
    (("ask", "{clip}", "What?", "--temperature", "9"), "9.0"),
    (("ask", "{clip}"), "question"),
    (("frames", "{folder}"), "folder"),
    (("frames", "{clip}", "--start", "100"), "100"),
    (("frames", "{clip}", "--sheet", "{folder}/no/sheet.jpg"), "/no does not exist"),
    (("frames", "{clip}", "--sheet", "{folder}/sheet.txt"), "sheet.txt"),
    (("serve", "--port", "99999"), "99999 is not a valid port"),
    (("serve", "--quant", "3bit"), "'3bit'"),
    (("dance",), "dance"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_INPUTS)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], words: str, run: Run, clip: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    files = {"clip": clip, "text": text, "folder": tmp_path, "shapes": SHAPES, "picture": EXAMPLES / "picture.png"}
    result = run(*(argument.format(**files) for argument in arguments))
    assert result.code == 2, result.errors
    assert result.output == ""
    assert len(result.errors.strip().splitlines()) == 1
    assert words in result.errors


@pytest.mark.parametrize("arguments", [("ask", "missing.mp4", "What?"), ("dance",)])
def test_bad_input_of_a_process(arguments: tuple[str, ...]) -> None:
    result = run_process(*arguments)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


def test_a_bad_video_is_reported_without_importing_torch() -> None:
    code = (
        "import sys; from longva_demo.cli.main import main; main(['ask', 'missing.mp4', 'What?', '--model', 'tiny']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_one_line_and_the_earlier_sheet_stays(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / ".frames.jpg.part.jpg").symlink_to("/dev/full")
    (tmp_path / "frames.jpg").write_text("the earlier one")
    result = run("frames", clip, "--frames", "4", "--sheet", tmp_path / "frames.jpg")
    assert result.code == 2
    assert "frames.jpg" in result.errors.splitlines()[-1]
    assert "No space left on device" in result.errors.splitlines()[-1]
    assert (tmp_path / "frames.jpg").read_text() == "the earlier one"


def test_an_upload_folder_that_cannot_be_written_is_reported_at_the_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "uploads"))
    result = run("serve", "--model", "tiny")
    assert result.code == 2
    [line] = result.errors.splitlines()
    assert "(Not a directory); free some space there, or set GRADIO_TEMP_DIR" in line


def test_a_misspelt_variable_is_named(run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVA_MODLE", "tiny")
    result = run("frames", clip)
    assert result.code == 2
    assert "LONGVA_MODLE is not a known variable" in result.errors


def test_doctor_reports_what_would_be_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVA_PORT", "1")  # nobody listens there
    result = run("doctor", "--json")
    assert result.code == 0, result.errors
    found = json.loads(result.output)
    assert found["packages"]["torch"].startswith("2.")
    assert found["decoders"]["pyav"]
    assert found["memory_bytes"] > 0
    assert found["server"] is None
    text = run("doctor").output
    if not found["gpus"]:
        assert found["model"]["model_id"] == "tiny"
        times = found["longva_7b_on_cpu"]
        assert 9e9 < times["needed_bytes"] < 10e9
        assert times["seconds_to_first_token"]["32"] > times["seconds_to_first_token"]["8"] > 0
        assert times["summary"] in text
    assert found["model"]["reason"] in text


@pytest.fixture(scope="module")
def saved_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions about an example, answered by the bundled model and saved."""
    engine = LocalEngine(load("tiny"), Settings())
    session = ChatSession(engine)
    info = probe(SHAPES)
    session.set_source(VideoSource(info, plan_frames(info, 12, 1.0, 5.0), engine.processor))
    for question in ("What colour is the star?", "What number is on the yellow square?", "Where is the circle?"):
        list(session.ask(question))
    file = tmp_path_factory.mktemp("chats") / "chat.json"
    file.write_text(record_chat(session, 12).to_json(), "utf-8")
    session.close()
    return file


def test_replay_gives_the_same_answers(saved_chat: Path, run: Run) -> None:
    result = run("replay", saved_chat, SHAPES, "--json")
    assert result.code == 0, result.errors
    reply = json.loads(result.output)
    assert reply["equal"] is True
    assert [turn["old"] for turn in reply["turns"]] == [turn["new"] for turn in reply["turns"]]
    assert reply["turns"][0]["new"] == "It is red."
    assert (reply["model"], reply["quant"]) == ("tiny", "none")
    plain = run("replay", saved_chat, SHAPES)
    assert plain.code == 0
    assert "What colour is the star?\n  then: It is red.\n  now:  It is red.\n  equal\n" in plain.output
    assert plain.output.endswith("3 of 3 answers are equal\n")


def test_replay_shows_an_answer_that_differs(saved_chat: Path, reference: Path, run: Run) -> None:
    """Another model gets the same questions."""
    result = run("replay", saved_chat, SHAPES, "--json", "--model", reference / "a" / "checkpoint")
    assert result.code == 0
    reply = json.loads(result.output)
    assert reply["equal"] is False
    assert reply["turns"][0]["old"] == "It is red." != reply["turns"][0]["new"]
    assert "note: the chat used revision" in result.errors


@pytest.mark.parametrize(
    ("change", "video", "words"),
    [
        (("", ""), "motion.mp4", "motion.mp4 is not the file of this chat"),
        (("", ""), "missing.mp4", "missing.mp4"),
        (("", ""), "", "shapes.mp4"),
        (("It is red.", "It is blue."), "shapes.mp4", "digest"),
        (('"budget"', '"buget"'), "shapes.mp4", "media.frames.budget"),
        (('"version": 5', '"version": 9'), "shapes.mp4", "version"),
        (("{", "["), "shapes.mp4", "JSON"),
    ],
)
def test_replay_rejects_a_bad_record_in_one_line(
    change: tuple[str, str], video: str, words: str, saved_chat: Path, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "chat.json"
    file.write_text(saved_chat.read_text("utf-8").replace(*change, 1), "utf-8")
    result = run("replay", file, *([EXAMPLES / video] if video else []), "--json")
    assert (result.code, result.output) == (2, "")
    assert len(result.errors.strip().splitlines()) == 1
    assert words in result.errors


@pytest.mark.parametrize("command", ["", "serve", "ask", "frames", "niah", "replay", "doctor"])
def test_help(command: str, run: Run) -> None:
    result = run(*command.split(), "--help")
    assert result.code == 0
    assert "usage: longva-demo" in result.output


@pytest.mark.parametrize("command", [("ask", "", "What?"), ("frames", ""), ("find", "", "a red star"), ("words", "")])
def test_an_empty_file_name_is_not_the_current_folder(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.code == 2
    assert "argument video: the file name is empty" in result.errors
