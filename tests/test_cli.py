"""The command line as a newcomer and as a script uses it: real processes, the bundled model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from longva_demo.chat import ChatSession, Engine, VideoSource
from longva_demo.chat.record import record_chat
from longva_demo.cli.main import main
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.chat.conftest import write_clip

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "longva_demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("cli") / "clip.mp4", seed=0)


def test_ask_answers_truly_in_one_json_object() -> None:
    examples = json.loads((EXAMPLES / "examples.json").read_text())
    example = next(entry for entry in examples if entry["file"].endswith(".mp4"))
    question = example["questions"][0]
    result = run("ask", EXAMPLES / example["file"], question["question"], "--frames", "8", "--model", "tiny", "--json")
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


def test_ask_streams_plain_text_about_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "picture with no suffix"
    Image.new("RGB", (84, 84), "red").save(picture, "PNG")
    result = run("ask", picture, "What is the background?", "--model", "tiny")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_frames_lists_indices_and_times(clip: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    result = run("frames", clip, "--frames", "5", "--start", "0:02", "--json", "--sheet", sheet)
    assert result.returncode == 0, result.stderr
    reply = json.loads(result.stdout)
    assert reply["video"]["num_frames"] == 60
    assert (reply["video"]["width"], reply["video"]["height"]) == (96, 64)
    assert [frame["index"] for frame in reply["frames"]] == [20, 29, 39, 49, 59]
    assert [frame["seconds"] for frame in reply["frames"]] == pytest.approx([2.0, 2.9, 3.9, 4.9, 5.9])
    with Image.open(sheet) as image:
        assert image.width > 3 * 96
    plain = run("frames", clip, "--frames", "100")
    assert "0:05.9" in plain.stdout
    assert "60 frames" in plain.stderr, "a budget above the number of frames says so"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ask", "missing.mp4", "What?"), "missing.mp4"),
        (("ask", "{text}", "What?"), "text.mp4"),
        (("ask", "{clip}", " "), "the question is empty"),
        (("ask", "{clip}", "What?", "--frames", "0"), "0"),
        (("ask", "{clip}", "What?", "--start", "5", "--end", "2"), "end"),
        (("ask", "{clip}", "What?", "--start", "noon"), "'noon' is not a valid time"),
        (("ask", "{clip}", "What?", "--model", "{folder}"), "config.json"),
        (("ask", "{clip}", "What?", "--temperature", "9"), "temperature is 9.0"),
        (("ask", "{clip}"), "question"),
        (("frames", "{folder}"), "folder"),
        (("frames", "{clip}", "--start", "100"), "100"),
        (("frames", "{clip}", "--sheet", "{folder}/no/sheet.jpg"), "there is no folder"),
        (("frames", "{clip}", "--sheet", "{folder}/sheet.txt"), "sheet.txt"),
        (("serve", "--port", "99999"), "99999"),
        (("dance",), "dance"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], words: str, clip: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    result = run(*(argument.format(clip=clip, text=text, folder=tmp_path) for argument in arguments))
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr


def test_a_full_disk_is_one_line_and_the_earlier_sheet_stays(clip: Path, tmp_path: Path) -> None:
    (tmp_path / ".frames.jpg.part.jpg").symlink_to("/dev/full")
    (tmp_path / "frames.jpg").write_text("the earlier one")
    result = run("frames", clip, "--frames", "4", "--sheet", tmp_path / "frames.jpg")
    assert result.returncode == 2
    assert "frames.jpg cannot be written ([Errno 28] No space left on device)" in result.stderr.splitlines()[-1]
    assert (tmp_path / "frames.jpg").read_text() == "the earlier one"


def test_no_place_for_uploads_is_told_before_the_page_comes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "uploads"))
    assert main(["serve", "--model", "tiny"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "uploads takes no files (Not a directory); free some space there, or set GRADIO_TEMP_DIR" in line


def test_a_misspelt_variable_is_named(clip: Path) -> None:
    result = run("frames", clip, LONGVA_MODLE="tiny")
    assert result.returncode == 2
    assert "LONGVA_MODLE" in result.stderr


def test_doctor_says_what_would_be_chosen() -> None:
    result = run("doctor", "--json", LONGVA_PORT="1")  # nobody listens there
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["packages"]["torch"].startswith("2.")
    assert found["decoders"]["pyav"]
    assert found["memory_bytes"] > 0
    assert found["server"] is None
    if not found["gpus"]:
        assert found["model"]["model_id"] == "tiny"
    assert found["model"]["reason"] in run("doctor", LONGVA_PORT="1").stdout


@pytest.fixture(scope="module")
def saved_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions about an example, asked of the bundled model and saved."""
    engine = Engine(load("tiny"), Settings())
    info = probe(EXAMPLES / "shapes.mp4")
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, 12, 1.0, 5.0), engine.processor))
    for question in ("What colour is the star?", "What number is on the yellow square?", "Where is the circle?"):
        list(session.ask(question))
    file = tmp_path_factory.mktemp("chats") / "chat.json"
    file.write_text(record_chat(session, 12).to_json(), "utf-8")
    session.close()
    return file


def test_replay_gives_the_same_answers(saved_chat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = EXAMPLES / "shapes.mp4"
    result = run("replay", saved_chat, clip, "--json", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    reply = json.loads(result.stdout)
    assert reply["equal"] is True
    assert [turn["old"] for turn in reply["turns"]] == [turn["new"] for turn in reply["turns"]]
    assert reply["turns"][0]["new"] == "It is red."
    assert (reply["model"], reply["quant"]) == ("tiny", "none")
    assert main(["replay", str(saved_chat), str(clip)]) == 0
    plain = capsys.readouterr().out
    assert "What colour is the star?\n  then: It is red.\n  now:  It is red.\n  equal\n" in plain
    assert plain.endswith("3 of 3 answers are equal\n")


def test_replay_shows_an_answer_that_differs(
    saved_chat: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another model, asked the same."""
    other = reference / "a" / "checkpoint"
    assert main(["replay", str(saved_chat), str(EXAMPLES / "shapes.mp4"), "--json", "--model", str(other)]) == 0
    printed = capsys.readouterr()
    reply = json.loads(printed.out)
    assert reply["equal"] is False
    assert reply["turns"][0]["old"] == "It is red." != reply["turns"][0]["new"]
    assert "note: the chat was with revision" in printed.err


@pytest.mark.parametrize(
    ("change", "video", "words"),
    [
        (("", ""), "motion.mp4", "motion.mp4 is not the file of this chat"),
        (("", ""), "missing.mp4", "missing.mp4 cannot be read"),
        (("", ""), "", "the chat is about shapes.mp4"),
        (("It is red.", "It is blue."), "shapes.mp4", "the field digest does not match"),
        (('"budget"', '"buget"'), "shapes.mp4", "the field media.frames.budget is missing"),
        (('"version": 3', '"version": 9'), "shapes.mp4", "the field version is 9"),
        (("{", "["), "shapes.mp4", "this is no JSON"),
    ],
)
def test_replay_refuses_in_one_line(
    change: tuple[str, str],
    video: str,
    words: str,
    saved_chat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "chat.json"
    file.write_text(saved_chat.read_text("utf-8").replace(*change, 1), "utf-8")
    assert main(["replay", str(file), *([str(EXAMPLES / video)] if video else []), "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert words in printed.err


@pytest.mark.parametrize("command", ["", "serve", "ask", "frames", "replay", "doctor"])
def test_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    assert "usage: longva-demo" in result.stdout
