"""Terminals whose encoding lacks letters of a file name: the letters are replaced, and nothing raises."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from longva_demo.chat import ChatSession, LocalEngine, VideoSource
from longva_demo.chat.record import record_chat
from longva_demo.cli.main import main
from longva_demo.cli.terminal import say, say_progress
from longva_demo.model import load
from longva_demo.model.hub import TINY_FOLDER
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.chat.conftest import write_clip

pytestmark = pytest.mark.slow

JAPANESE = "日本の祭り"
NOT_UTF8 = os.fsdecode(b"caf\xe9")  # as Latin-1 systems wrote it
CONTROL_CHARACTERS = "red\x1b[31m\nname"


@dataclass
class Terminal:
    """Standard output and standard error in an encoding that has few letters and raises for the others."""

    encoding: str
    is_tty: bool = False

    def __post_init__(self) -> None:
        self.streams = [io.TextIOWrapper(io.BytesIO(), self.encoding, write_through=True) for _ in range(2)]
        for stream in self.streams:
            stream.isatty = lambda: self.is_tty  # type: ignore[method-assign]

    def run(self, *arguments: str | Path) -> int:
        """Run a command that prints here. Returns its exit code."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.streams
        try:
            return main([str(argument) for argument in arguments])
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            sys.stdout, sys.stderr = before

    @property
    def raw_output(self) -> bytes:
        return self.streams[0].buffer.getvalue()  # type: ignore[attr-defined]

    @property
    def output(self) -> str:
        return self.raw_output.decode(self.encoding)

    @property
    def errors(self) -> str:
        return self.streams[1].buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.fixture(params=["latin-1", "ascii", "utf-8"])
def terminal(request: pytest.FixtureRequest) -> Terminal:
    return Terminal(request.param)


@pytest.fixture(scope="module", params=[JAPANESE, NOT_UTF8], ids=["japanese", "not-utf-8"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    return write_clip(folder / "clip.mp4", seed=0).rename(folder / f"{request.param}.mp4")


def shown(text: str, encoding: str) -> str:
    """The text as a terminal with this encoding shows it."""
    return text.encode(encoding, "replace").decode(encoding)


def test_frames_and_its_sheet(clip: Path, terminal: Terminal) -> None:
    sheet = clip.with_suffix(".jpg")
    assert terminal.run("frames", clip, "--frames", "3", "--sheet", sheet) == 0
    assert terminal.output.startswith(f"{shown(clip.name, terminal.encoding)}: 60 frames, ")
    assert f"wrote {shown(str(sheet), terminal.encoding)}" in terminal.errors
    assert sheet.stat().st_size > 1000


def test_json_is_utf_8_on_every_terminal(clip: Path, terminal: Terminal) -> None:
    assert terminal.run("frames", clip, "--frames", "3", "--json") == 0
    reply = json.loads(terminal.raw_output.decode("utf-8"))
    expected = JAPANESE if JAPANESE in clip.name else "caf\ufffd"
    assert Path(reply["video"]["path"]).name == f"{expected}.mp4"


def test_ask_and_its_progress(clip: Path) -> None:
    terminal = Terminal("latin-1")
    assert terminal.run("ask", clip, f"Where is {JAPANESE}?", "--frames", "3", "--model", "tiny") == 0
    assert terminal.output.strip()
    assert "reading frame 3 of 3" in terminal.errors


def test_a_question_that_is_not_utf_8(clip: Path) -> None:
    terminal = Terminal("latin-1")
    assert terminal.run("ask", clip, f"Is it {NOT_UTF8}?", "--frames", "3", "--model", "tiny", "--json") == 0
    assert json.loads(terminal.raw_output.decode("utf-8"))["answer"]


@pytest.mark.parametrize("name", [JAPANESE, NOT_UTF8])
def test_errors(name: str, terminal: Terminal) -> None:
    for arguments in (("frames", f"{name}.mp4"), ("ask", f"{name}.mp4", "What?"), (name,), ("frames", "--start", name)):
        terminal = Terminal(terminal.encoding)
        assert terminal.run(*arguments) == 2
        [line] = terminal.errors.splitlines()
        assert line.startswith("longva-demo")
        assert terminal.output == ""


@pytest.mark.parametrize("name", [JAPANESE, NOT_UTF8])
def test_doctor(name: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVA_MODEL", name)
    monkeypatch.setenv("LONGVA_PORT", "1")  # nobody listens there
    assert terminal.run("doctor") == 0
    assert f"Model     {shown(name, terminal.encoding)}, " in terminal.output
    terminal = Terminal(terminal.encoding)
    assert terminal.run("doctor", "--json") == 0
    assert json.loads(terminal.raw_output.decode("utf-8"))["model"]["model_id"] in (name, "caf\ufffd")


@pytest.mark.parametrize(("name", "out_name"), [(JAPANESE, JAPANESE), ("$x^$", NOT_UTF8)])
def test_niah_with_a_model_in_such_a_folder(name: str, out_name: str, tmp_path: Path) -> None:
    """The name is printed, kept with the results and used as the title of the heat map. A second run resumes."""
    shutil.copytree(TINY_FOLDER, tmp_path / name)
    haystack = write_clip(tmp_path / "haystack.mp4", seed=1)
    out = tmp_path / f"out {out_name}"
    options = ("--model", tmp_path / name, "--frames", "4:4:4", "--depths", "0:1:1", "--needles", "drawn")
    more = ("--num-needles", "1", "--no-attribution", "--out", out, "--spacing", "budget", "--json")
    for words in ("", "2 of 2 cells are already done"):
        terminal = Terminal("latin-1")
        assert terminal.run("niah", haystack, *options, *more) == 0, terminal.errors
        assert words in terminal.errors
        assert json.loads(terminal.raw_output.decode("utf-8"))["out"].startswith(f"{tmp_path}/out ")
    assert (out / "heatmap.svg").stat().st_size > 1000


def test_a_model_folder_that_is_not_utf_8_is_an_error(clip: Path, tmp_path: Path) -> None:
    """safetensors cannot open files there."""
    shutil.copytree(TINY_FOLDER, tmp_path / NOT_UTF8)
    terminal = Terminal("latin-1")
    assert terminal.run("ask", clip, "What?", "--frames", "2", "--model", tmp_path / NOT_UTF8) == 2
    [line] = terminal.errors.splitlines()
    assert line.endswith("caf? is not valid UTF-8, which safetensors cannot open; rename the folder")


def test_replay(clip: Path, tmp_path: Path) -> None:
    terminal = Terminal("ascii")
    engine = LocalEngine(load("tiny"), Settings())
    info = probe(clip)
    session = ChatSession(engine)
    session.set_source(VideoSource(info, plan_frames(info, 3), engine.processor))
    list(session.ask(f"Is it {JAPANESE}?"))
    record = tmp_path / f"{JAPANESE}.json"
    record.write_text(record_chat(session, 3).to_json(), "utf-8")
    session.close()
    assert terminal.run("replay", record, clip) == 0
    assert terminal.output.startswith(shown(f"Is it {JAPANESE}?\n  then: ", terminal.encoding))
    assert terminal.output.endswith("1 of 1 answers are equal\n")


@pytest.mark.parametrize("is_tty", [False, True])
def test_control_characters_do_not_reach_the_terminal(is_tty: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal("utf-8", is_tty)
    monkeypatch.setattr(sys, "stderr", terminal.streams[1])
    say(CONTROL_CHARACTERS)
    say_progress(CONTROL_CHARACTERS, 1, 2)
    say_progress(CONTROL_CHARACTERS, 2, 2)
    plain = terminal.errors.replace("\r\x1b[K", "")
    assert "\x1b" not in plain
    counted = ["red [31m name 1 of 2red [31m name 2 of 2"] if is_tty else ["red [31m name 2 of 2"]
    assert plain.splitlines() == ["red [31m name", *counted]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_real_process(clip: Path, encoding: str) -> None:
    command = [sys.executable, "-m", "longva_demo", "frames", str(clip), "--frames", "2"]
    environment = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    result = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(clip.name.encode(encoding, "replace"))
