"""The plugin under lmms-eval itself, offline, on a local task of drawn clips: `make test-eval`.

Not collected by `make test`: lmms-eval is installed in an environment of its own.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(1800)  # a busy machine takes ten times as long as an idle one
EXAMPLES = Path(__file__).parents[2] / "examples"
BUDGET = 8
ROWS = [
    ("shapes.mp4", "What colour is the star?", "red"),
    ("shapes.mp4", "What number is on the yellow square?", "8"),
    ("change.mp4", "What colour is the heart at the end?", "blue"),
    ("broken.mp4", "What colour is the star?", "red"),
    ("shapes.mp4", "Where is the circle?", "left"),
    ("change.mp4", "Does the heart change its colour?", "yes"),
]
TASK = """
task: drawn_clips
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/rows.jsonl
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 32
  temperature: 0
  do_sample: false
process_results: !function utils.process_results
metric_list:
  - metric: clips_score
    aggregation: !function utils.aggregate
    higher_is_better: true
metadata:
  - version: 1.0
"""
UTILS = """
def doc_to_visual(doc):
    return [doc["path"]]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def process_results(doc, results):
    score = float(doc["answer"] in results[0].lower())
    return {"clips_score": {"score": score, "clip": doc["path"]}}


def aggregate(results):
    return 100 * sum(result["score"] for result in results) / len(results)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, one of them broken, and the task."""
    made = tmp_path_factory.mktemp("task")
    for name in ("shapes.mp4", "change.mp4"):
        copy(EXAMPLES / name, made)
    (made / "broken.mp4").write_bytes(b"not a video")
    rows = [{"path": str(made / name), "question": question, "answer": answer} for name, question, answer in ROWS]
    (made / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (made / "drawn_clips.yaml").write_text(TASK.format(folder=made))
    (made / "utils.py").write_text(UTILS)
    return made


def lmms_eval(folder: Path, out: Path, *flags: str, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run lmms-eval as a user does."""
    command = [
        *(sys.executable, *launch, "-m", "lmms_eval", "--model", "longva_demo"),
        *("--model_args", f"model=tiny,frames={BUDGET},device=cpu,dtype=float32,out={out}"),
        *("--tasks", "drawn_clips", "--include_path", str(folder), "--batch_size", "1"),
        *("--output_path", str(out / "lmms"), "--log_samples", *flags),
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "LMMS_EVAL_HOME": str(folder / "lmms-eval"),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=1500)


def answers(out: Path) -> dict[str, dict[str, Any]]:
    """All rows of the result files by number of the question, without times and shared prefills."""
    found = {}
    for path in sorted(out.glob("answers-*.jsonl")):
        _, *rows = map(json.loads, path.read_text("utf-8").splitlines())
        for row in rows:
            found[row["key"][2]] = {
                name: row[name] for name in ("prompt", "answer", "num_frames", "num_tokens", "error")
            }
    return found


def score(out: Path) -> float:
    """The score that lmms-eval reports."""
    [path] = (out / "lmms").rglob("*results.json")
    facts = json.loads(path.read_text("utf-8"))["results"]["drawn_clips"]
    return float(facts["clips_score,none"])


@pytest.fixture(scope="module")
def first(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run in one process."""
    out = tmp_path_factory.mktemp("first")
    done = lmms_eval(folder, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_answers_are_those_of_ask(folder: Path, first: Path) -> None:
    found = answers(first)
    assert len(found) == len(ROWS)
    for number, (name, question, _) in enumerate(ROWS):
        if name == "broken.mp4":
            continue
        command = [sys.executable, "-m", "longva_demo", "ask", str(folder / name), question]
        flags = ["--frames", str(BUDGET), "--model", "tiny", "--dtype", "float32", "--json"]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
        facts = json.loads(done.stdout)
        row = found[str(number)]
        assert (row["answer"], row["num_tokens"]) == (facts["answer"].strip(), facts["num_tokens"])


def test_an_unreadable_file_is_an_error_and_no_answer(first: Path) -> None:
    row = answers(first)["3"]
    assert (row["answer"], row["num_frames"]) == ("", 0)
    assert "broken.mp4" in row["error"]


def test_a_stopped_run_resumes(folder: Path, first: Path, tmp_path: Path) -> None:
    """Half of the answers, the last one cut, are completed without asking again what is known."""
    whole = (first / "answers-0.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "answers-0.jsonl").write_bytes(b"".join(whole[:4])[:-10])
    done = lmms_eval(folder, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert answers(tmp_path) == answers(first)
    assert (tmp_path / "answers-0.jsonl").read_bytes().startswith(b"".join(whole[:3]))
    assert score(tmp_path) == score(first)


def test_two_processes_give_the_result_of_one(folder: Path, first: Path, tmp_path: Path) -> None:
    # --multi_gpu is the launcher for several processes; ACCELERATE_USE_CPU below makes them use the CPU.
    launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    done = lmms_eval(folder, tmp_path, launch=(*launch, "--main_process_port", str(free_port())))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.glob("answers-*.jsonl")) == ["answers-0.jsonl", "answers-1.jsonl"]
    assert all(len(path.read_text("utf-8").splitlines()) == 4 for path in tmp_path.glob("answers-*.jsonl"))
    assert answers(tmp_path) == answers(first)
    assert score(tmp_path) == score(first)


def test_the_benchmark_leaves_errors_out(folder: Path, first: Path) -> None:
    """lmms-eval counts the unreadable file as wrong: 4 of 6. Here it is 4 of 5, and one error."""
    from longva_demo.eval.benchmark import run_benchmark
    from longva_demo.eval.lmms_model import LongVADemo
    from longva_demo.eval.published import Task

    assert score(first) == pytest.approx(100 * 4 / 6)
    model = LongVADemo("tiny", BUDGET, str(first), device="cpu", dtype="float32")
    outcome = run_benchmark(model, Task("drawn_clips", "Drawn clips", "", BUDGET), None, include=folder)
    assert outcome is not None
    assert outcome.measured is not None
    assert (outcome.measured.value, outcome.measured.num_samples, outcome.num_errors) == (80, 5, 1)
    assert outcome.measured.low is not None
    assert outcome.measured.low < 80
    assert outcome.frames_alone == 5 * BUDGET
    assert outcome.frames_prefilled == 2 * BUDGET
    assert "measured: 80.0" in outcome.report()
    assert "frames prefilled: 16 instead of 40 (2.5 × fewer)" in outcome.report()


def test_messages_with_several_pictures() -> None:
    """As lmms-eval makes them of MMMU. The places of the pictures stay in the text."""
    from longva_demo.errors import DemoError
    from longva_demo.eval.lmms_model import read_messages

    one, two = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    def image(picture: Image.Image) -> dict[str, Any]:
        return {"type": "image", "url": picture}

    several = [text("Is"), image(one), text("like"), image(two), text("?")]
    prompt = "Is\n<image 1>\nlike\n<image 2>\n?"
    assert read_messages([{"role": "user", "content": several}]) == (prompt, (one, two))
    assert read_messages([{"role": "user", "content": [image(one), text("What?")]}]) == ("What?", one)
    assert read_messages([{"role": "user", "content": [text("What?")]}]) == ("What?", None)
    with pytest.raises(DemoError, match="2 videos or pictures"):
        read_messages([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}, image(one)]}])


def test_lmms_eval_has_the_benchmarks() -> None:
    """Their names, datasets and metrics, from the files of lmms-eval; loading them would need the datasets."""
    from lmms_eval.tasks import TaskManager

    from longva_demo.eval.published import TASKS

    index = TaskManager("WARNING").task_index
    for task in TASKS.values():
        folder = Path(index[task.name]["yaml_path"]).parent
        files = [file for file in (*folder.iterdir(), *folder.parent.glob("_default*")) if "yaml" in file.name]
        text = "".join(file.read_text("utf-8") for file in files)
        assert f"dataset_path: {task.dataset}\n" in text, task.name
        assert f"metric: {task.metric}" in text, task.name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
