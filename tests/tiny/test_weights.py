"""The bundled weights: original format, small, and as accurate on new scenes as in the evaluation."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from longva_demo.model import load
from longva_demo.tiny.clips import needles, picture
from longva_demo.tiny.questions import REFUSAL
from longva_demo.tiny.scenes import SHAPES
from tools.tiny import report
from tools.tiny.ask import WEIGHTS, TinyModel
from tools.tiny.evaluate import SCENES, drawn
from tools.tiny.out_of_scope import HELD_OUT_KINDS, draw_out_of_scope
from tools.tiny.real_pictures import REAL, real_frames
from tools.tiny.report import NEEDLES

pytestmark = pytest.mark.slow

SEED = 31_000_000  # not used in training or evaluation


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return TinyModel()


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    return {row["task"]: row["score"] for row in json.loads(report.JSON_FILE.read_text(encoding="utf-8"))}


def test_original_format_and_size():
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert size <= 10 * 1024**2
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "llava_qwen"
    assert config["mm_projector_type"] == "mlp2x_gelu"
    with safe_open(WEIGHTS / "model.safetensors", "pt") as file:
        names = set(file.keys())
        kinds = {file.get_tensor(name).dtype for name in names}
    assert kinds == {torch.bfloat16}
    vision = "model.vision_tower.vision_tower.vision_model."
    assert f"{vision}embeddings.patch_embedding.weight" in names
    assert {"model.mm_projector.0.weight", "model.mm_projector.2.weight", "model.embed_tokens.weight"} <= names
    assert all(name.startswith(("model.", "lm_head.")) for name in names)
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"):
        assert (WEIGHTS / name).is_file(), name


def test_context_holds_two_thousand_frames():
    config = load("tiny").model.config
    assert config.tokens_per_frame * 2000 + 512 <= config.context_length


def accuracy(model: TinyModel, tasks: set[str], scenes: int, seed: int) -> tuple[float, int]:
    rng, right, total = random.Random(seed), 0, 0
    for _ in range(scenes):
        episode = picture(rng, SCENES, 8)
        wanted = [one for one in episode.asked if one.task in tasks]
        tokens = model.encode(drawn(episode.frames, 168, 24))
        answers = model.ask(tokens, [one.question for one in wanted])
        right += sum(answer == one.answer for answer, one in zip(answers, wanted, strict=True))
        total += len(wanted)
    return right / total, total


@pytest.mark.parametrize("task", ["background", "colour", "number", "yes-no"])
def test_answers_on_fresh_scenes(model, scores, task):
    """Within three standard errors of the evaluation, and far above chance (1 in 10; 1 in 2 for yes and no)."""
    score, total = accuracy(model, {task}, 60, SEED)
    error = max(0.03, (scores[task] * (1 - scores[task]) / total) ** 0.5)
    assert score >= scores[task] - 3 * error
    assert score > 0.7


def test_finds_a_number_among_frames(model, scores):
    rng, right = random.Random(SEED + 1), 0
    for _ in range(20):
        episode = needles(rng, 32, 1, 1, letter_share=0.0)
        tokens = model.encode(drawn(episode.frames, 84, 24))
        right += model.ask(tokens, [episode.asked[0].question])[0] == episode.asked[0].answer
    assert right / 20 >= scores["digit needle, 64 frames"] - 0.3
    assert right >= 10


def test_refuses_out_of_scope_pictures_and_questions(model):
    rng, refused = random.Random(SEED + 2), 0
    for _ in range(20):
        tokens = model.encode(draw_out_of_scope(rng, 84, HELD_OUT_KINDS)[None])
        refused += model.ask(tokens, ["What do you see?"])[0] == REFUSAL
    assert refused >= 16
    assert model.ask(None, ["Hello", "Who are you?"]) == [REFUSAL, REFUSAL]


@pytest.mark.parametrize("kind", REAL)
def test_refuses_real_pictures(model, kind):
    rng, refused = random.Random(SEED + 3), 0
    for _ in range(5):
        answers = model.ask(model.encode(real_frames(rng, kind)), ["What do you see?", "Where is the red star?"])
        refused += answers.count(REFUSAL)
        assert not any(shape in answer for answer in answers for shape in SHAPES)
    assert refused >= 9


def evaluated() -> list[report.Row]:
    rows = json.loads(report.JSON_FILE.read_text(encoding="utf-8"))
    return [report.Row(row["task"], row["score"], row["samples"], row["seed"]) for row in rows]


def test_page_and_table_agree():
    assert report.table(evaluated()) in report.PAGE.read_text(encoding="utf-8")


def test_targets_are_met():
    """Needle scores are averaged in two groups: up to 256 frames, and more."""
    scores = {row.task: row.score for row in evaluated()}
    needles = [[f"digit needle, {number} frames" for number in some] for some in (NEEDLES[:3], NEEDLES[3:])]
    for tasks in needles:
        assert sum(scores[task] for task in tasks) / len(tasks) >= report.TARGETS[tasks[0]]
    others = report.TARGETS.keys() - {*needles[0], *needles[1]}
    assert not {task: scores[task] for task in others if scores[task] < report.TARGETS[task]}
    shares = [score for task, score in scores.items() if task.startswith("false")]
    assert len(shares) == 2
    assert max(shares) <= report.MAX_FALSE


def test_examples_are_complete():
    folder = Path(__file__).parents[2] / "examples"
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    assert sum(entry["file"].endswith(".mp4") for entry in entries) >= 6
    assert sum(entry["file"].endswith(".png") for entry in entries) >= 1
    for entry in entries:
        assert (folder / entry["file"]).stat().st_size < 400_000
        assert (folder / entry["thumbnail"]).is_file()
        assert 2 <= len(entry["questions"]) <= 4
