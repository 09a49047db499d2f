"""The wheel, in an environment that has its dependencies but not this repository: it answers, serves, and has types."""

import json
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from pathlib import Path

import pytest

from tests.support.server import serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
EXAMPLE = json.loads((ROOT / "examples" / "examples.json").read_text("utf-8"))[0]
OTHERS = (".*", "__pycache__", "build", "dist", "*.egg-info", "tests")
CALLS = """
import longva_demo as longva
from longva_demo.video import probe

chat = longva.open("clip.mp4", frames=64)
reveal_type(chat.answer("What number is shown?"))
reveal_type(probe("clip.mp4").num_frames)
chat.answer(7)
"""
# Their types are not needed, and reading them takes a minute.
CONFIG = """
[mypy]
[mypy-torch.*,transformers.*,tokenizers.*,numpy.*,gradio.*,huggingface_hub.*,pydantic.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, which also sees the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*OTHERS))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", folder, folder / "source"], check=True)
    shutil.rmtree(folder / "source")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", wheel], check=True)
    return python


def test_it_answers(python: Path, tmp_path: Path) -> None:
    question = EXAMPLE["questions"][0]
    command = [python.with_name("longva-demo"), "ask", ROOT / "examples" / EXAMPLE["file"], question["question"]]
    flags = ["--frames", str(EXAMPLE["num_frames"]), "--model", "tiny"]
    done = subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == question["answer"]


def test_it_serves_the_page_with_its_examples(python: Path, tmp_path: Path) -> None:
    program = (str(python.with_name("longva-demo")), "serve")
    with serving(tmp_path / "log", "--model", "tiny", program=program) as address:
        with urllib.request.urlopen(f"{address}/config") as reply:
            config = json.load(reply)
        [gallery] = [part["props"] for part in config["components"] if part["props"].get("elem_id") == "gallery"]
        cards = [card for group in gallery["value"] for card in group["cards"]]
        assert len(cards) >= 12
        assert all(Path(card["choice"]["file"]["path"]).is_relative_to(python.parents[1]) for card in cards)
        assert ".film-frames" in config["css"]
        for path in (cards[0]["choice"]["file"]["url"], cards[0]["preview"]):
            with urllib.request.urlopen(address + path) as reply:
                assert len(reply.read()) > 1000


def test_mypy_sees_its_types(python: Path, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "calls.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'calls.py:6: note: Revealed type is "str"' in done.stdout.replace("builtins.", ""), done.stdout
    assert 'calls.py:7: note: Revealed type is "int"' in done.stdout.replace("builtins.", "")
    assert 'calls.py:8: error: Argument 1 to "answer" of "Chat" has incompatible type "int"' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout
