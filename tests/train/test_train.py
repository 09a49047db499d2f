"""Training: rows as model inputs, the same loss on two processes, resuming, and a checkpoint that the demo loads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM, TrainingArguments

from longva_demo.errors import DemoError
from longva_demo.model import LongVAForConditionalGeneration, LongVAProcessor, load
from longva_demo.model.hub import TINY_FOLDER
from longva_demo.train.__main__ import main, read_flags
from longva_demo.train.rows import IGNORED, BadRow, Conversations, check_row, read_rows
from longva_demo.train.text import PackedText
from longva_demo.train.trainer import LongVATrainer
from longva_demo.video.still import image_size, open_image
from tests.support.server import free_port

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "longva_demo" / "train" / "configs"
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
QUICK = ["--use_cpu", "True", "--report_to", "none", "--logging_steps", "1", "--per_device_train_batch_size", "1"]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows with answers of different lengths; the last one has no image."""
    folder = tmp_path_factory.mktemp("rows")
    values: list[dict[str, Any]] = []
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (90 + 10 * number, 60), colour).save(folder / f"{number}.png")
        answer = f"It is {colour}." * (1 + number % 3)
        values.append({"id": colour, "image": f"{number}.png", "conversations": turns("<image>\nWhat colour?", answer)})
    values[-1] = {"id": "text", "conversations": turns("Do you see a <|im_end|>?", "No.")}
    (folder / "rows.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def processor() -> LongVAProcessor:
    return LongVAProcessor.from_pretrained(TINY_FOLDER)


def conversations(
    rows: Path, processor: LongVAProcessor, max_length: int = 4096, strict: bool = False
) -> Conversations:
    return Conversations(rows / "rows.json", rows, processor, max_length, strict)


def test_a_row_is_a_prompt_whose_labels_are_the_answer(rows: Path, processor: LongVAProcessor) -> None:
    row = conversations(rows, processor)[1]
    image = Image.open(rows / "1.png")
    prompt = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nWhat colour?"
    text = f"{prompt}<|im_end|>\n<|im_start|>assistant\nIt is blue.It is blue.<|im_end|>\n"
    whole = processor(text=text, images=image)
    assert torch.equal(row["input_ids"], whole["input_ids"])
    assert torch.equal(row["pixel_values"], whole["pixel_values"])
    assert torch.equal(row["visual_slots"], whole["visual_slots"])
    learned = row["labels"][0] != IGNORED
    assert processor.tokenizer.decode(row["labels"][0][learned]) == "It is blue.It is blue.<|im_end|>"
    assert torch.equal(row["labels"][0][learned], row["input_ids"][0][learned])


def test_the_black_frame_of_a_row_without_an_image_does_not_change_the_loss(
    rows: Path, processor: LongVAProcessor
) -> None:
    data = conversations(rows, processor)
    row = data[7]
    assert processor.decode(row["input_ids"][0]).count("<|im_end|>") == 4  # system, typed, question, answer
    model = LongVAForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32)
    trainer = LongVATrainer(model, TrainingArguments(use_cpu=True, report_to="none"), data)
    with_frame = trainer.compute_loss(model, row)
    count = model.config.tokens_per_frame
    alone = model(input_ids=row["input_ids"][:, :-count], labels=row["labels"][:, :-count]).loss
    torch.testing.assert_close(with_frame, alone, atol=1e-5, rtol=1e-5)
    with_frame.backward()
    assert model.model.mm_projector[0].weight.grad is not None  # the module ran, which FSDP requires
    assert model.model.mm_projector[0].weight.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("text", "no conversations"),
        ({"conversations": []}, "no conversations"),
        ({"conversations": [{"from": "gpt", "value": "Hi"}]}, "turn 1 is not a text from 'human'"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "last question has no answer"),
        ({"conversations": turns("a", " ")}, "turn 2 is not a text"),
        ({"image": "no.png", "conversations": turns("<image>", "a")}, "there is no image"),
        ({"image": "0.png", "conversations": turns("a", "b")}, "0 <image> tags for 1 images"),
        ({"conversations": turns("<image>", "b")}, "1 <image> tags for 0 images"),
        ({"conversations": turns("a", "<image>")}, "an answer contains <image>"),
    ],
)
def test_reasons_for_bad_rows(rows: Path, row: Any, why: str) -> None:
    with pytest.raises(BadRow, match=why):
        check_row(row, rows)


def test_bad_rows_are_reported_and_skipped_or_rejected(rows: Path, tmp_path: Path, processor: LongVAProcessor) -> None:
    good = read_rows(rows / "rows.json")
    (tmp_path / "rows.json").write_text(json.dumps([*good[:2], {"id": "x", "conversations": turns("a", "")}]))
    data = Conversations(tmp_path / "rows.json", rows, processor, 4096, strict=False)
    assert len(data) == 2
    assert data.skipped == ["row 3 (x) of rows.json: turn 2 is not a text from 'gpt'"]
    with pytest.raises(DemoError, match=r"row 3 \(x\)"):
        Conversations(tmp_path / "rows.json", rows, processor, 4096, strict=True)
    with pytest.raises(DemoError, match="no row of"):
        conversations(rows, processor, max_length=20)
    (tmp_path / "rows.json").write_text("{}")
    with pytest.raises(DemoError, match="contains no rows"):
        read_rows(tmp_path / "rows.json")


def corrupted(rows: Path, folder: Path) -> Path:
    """The same rows, two of them with images that are truncated after their header."""
    shutil.copytree(rows, folder)
    for number in (2, 3):
        path = folder / f"{number}.png"
        Image.effect_noise((120, 60), 100).save(path, "JPEG")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


@pytest.fixture
def corrupt(rows: Path, tmp_path: Path) -> Path:
    return corrupted(rows, tmp_path / "corrupt")


def test_row_lengths_are_checked_before_training(rows: Path, processor: LongVAProcessor, corrupt: Path) -> None:
    for path in sorted(rows.glob("*.png")):
        slots = processor.image_processor.num_slots(image_size(path))
        assert slots == len(processor.preprocess_image(open_image(path)))
    lengths = [row["input_ids"].shape[1] for row in conversations(rows, processor)]
    data = conversations(rows, processor, max_length=max(lengths) - 1)
    assert data.skipped[0].endswith(f"it has {max(lengths):,} tokens, more than the limit of {max(lengths) - 1:,}")
    assert len(data) == sum(length < max(lengths) for length in lengths)
    assert not conversations(rows, processor, max_length=max(lengths)).skipped
    (corrupt / "5.png").write_bytes(b"no picture")
    assert conversations(corrupt, processor).skipped == [
        "row 6 (black) of rows.json: 5.png cannot be read as a picture"
    ]
    with pytest.raises(DemoError, match="without --strict"):
        conversations(corrupt, processor, strict=True)


def test_a_corrupt_image_is_reported_once_and_the_next_row_is_used_instead(
    corrupt: Path, processor: LongVAProcessor, capsys: pytest.CaptureFixture[str]
) -> None:
    data = conversations(corrupt, processor)
    assert len(data) == 8
    assert not data.skipped
    for _ in range(2):
        assert torch.equal(data[2]["input_ids"], data[4]["input_ids"])
        assert torch.equal(data[3]["pixel_values"], data[4]["pixel_values"])
    assert capsys.readouterr().err.splitlines() == [
        "skipped: row 3 (green) of rows.json: 2.png cannot be read as a picture; using the next row instead",
        "skipped: row 4 (yellow) of rows.json: 3.png cannot be read as a picture; using the next row instead",
    ]
    with pytest.raises(DemoError, match=r"^row 3 \(green\) of rows.json: 2.png cannot be read as a picture; fix it"):
        conversations(corrupt, processor, strict=True)[2]
    only = read_rows(corrupt / "rows.json")[2:4]
    (corrupt / "rows.json").write_text(json.dumps(only))
    with pytest.raises(DemoError, match="no row is left"):
        conversations(corrupt, processor)[0]


@pytest.fixture(scope="module")
def data_of(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The data flags of each stage."""
    folder = tmp_path_factory.mktemp("data")
    corrupt = corrupted(rows, folder / "corrupt")
    words = np.random.default_rng(0).choice(COLOURS, (8, 60))
    (folder / "books.jsonl").write_text("".join(json.dumps({"text": " ".join(line)}) + "\n" for line in words))
    return {
        "text": ["--data", str(folder / "books.jsonl"), "--seq_length", "48"],
        "align": ["--data", str(corrupt / "rows.json"), "--images", str(corrupt), "--vision_tower_lr", "1e-4"],
    }


def training(stage: str, out: Path, *flags: str) -> list[str]:
    """The arguments of four steps."""
    arguments = [stage, "--model", str(TINY_FOLDER), "--output_dir", str(out), "--max_steps", "4"]
    arguments += ["--save_steps", "2", "--learning_rate", "3e-4", "--lr_scheduler_type", "constant"]
    return [*arguments, *QUICK, *flags]


def logged_losses(out: Path) -> list[float]:
    """The loss of each step."""
    state = json.loads((sorted(out.glob("checkpoint-*"))[-1] / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def losses(stage: str, out: Path, *flags: str) -> list[float]:
    """Train in this process, and return the loss of each step."""
    assert main(training(stage, out, *flags)) == 0
    return logged_losses(out)


# Imports take longer than a training, so those of all stages are forked from one process. Each of them needs a port of
# its own: torchrun's store has the addresses of the training before.
TRAININGS = """
import json, os, runpy, sys
import longva_demo.train.trainer
for port, *arguments in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        sys.argv[1:] = arguments
        os.environ.update(MASTER_PORT=port, TORCHELASTIC_USE_AGENT_STORE="False")
        runpy.run_module("longva_demo.train", run_name="__main__", alter_sys=True)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def losses_on_two(data_of: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """The loss of each step of each stage on two processes."""
    folder = tmp_path_factory.mktemp("two")
    runs = [
        [str(free_port()), *training(stage, folder / stage, *flags, "--gradient_accumulation_steps", "1")]
        for stage, flags in data_of.items()
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--no-python", sys.executable, "-c", TRAININGS, json.dumps(runs)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return {stage: logged_losses(folder / stage) for stage in data_of}


@pytest.mark.parametrize(
    ("stage", "trained"),
    [("text", {"layers", "norm", "embed_tokens"}),
     ("align", {"layers", "norm", "embed_tokens", "mm_projector", "vision_tower"})],
)  # fmt: skip
def test_two_processes_have_the_loss_of_one_and_a_stopped_run_resumes(
    stage: str,
    trained: set[str],
    data_of: dict[str, list[str]],
    losses_on_two: dict[str, list[float]],
    tmp_path: Path,
) -> None:
    two_rows = [*data_of[stage], "--gradient_accumulation_steps", "2"]
    one, two = losses(stage, tmp_path / "one", *two_rows), losses_on_two[stage]
    assert len(one) == len(two) == 4
    assert two == pytest.approx(one, rel=1e-4)
    assert len({round(loss, 3) for loss in one}) == 4, "the loss does not change"

    stopped = str(tmp_path / "one" / "checkpoint-2")
    again = losses(stage, tmp_path / "again", *two_rows, "--resume_from_checkpoint", stopped)
    assert again == pytest.approx(one, rel=1e-5)

    after = dict(load(str(tmp_path / "one"), device="cpu", dtype="float32").model.named_parameters())
    before = dict(load("tiny", device="cpu", dtype="float32").model.named_parameters())
    assert {name.split(".")[1] for name, value in after.items() if not torch.equal(value, before[name])} == trained


def test_rows_in_one_batch_have_the_loss_of_accumulated_ones(data_of: dict[str, list[str]], tmp_path: Path) -> None:
    """Rows of different lengths, with images of different sizes, and without."""
    one = losses("align", tmp_path / "one", *data_of["align"], "--gradient_accumulation_steps", "2")
    batch = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1"]
    assert losses("align", tmp_path / "batch", *data_of["align"], *batch) == pytest.approx(one, rel=1e-4)


def tiny_qwen(folder: Path, processor: LongVAProcessor) -> Path:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(processor.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return folder


def test_both_stages_in_sequence(rows: Path, tmp_path: Path, processor: LongVAProcessor) -> None:
    """Scaled-down runs of the published configs turn a language model, CLIP and a new projector into a LongVA."""
    qwen = tiny_qwen(tmp_path / "qwen", processor)
    (tmp_path / "books.jsonl").write_text("\n".join(json.dumps({"text": "red and blue " * 40}) for _ in range(6)))
    small = ["--max_steps", "3", "--gradient_accumulation_steps", "1", "--bf16", "False", *QUICK]
    text = ["text", str(CONFIGS / "text.yaml"), "--model", str(qwen), "--data", str(tmp_path / "books.jsonl")]
    text += ["--output_dir", str(tmp_path / "long"), "--seq_length", "128", "--learning_rate", "1e-2"]
    assert main([*text, *small]) == 0
    config = Qwen2Config.from_pretrained(tmp_path / "long")
    assert config.rope_parameters["rope_theta"] == 1e9
    assert config.max_position_embeddings == 128
    state = json.loads(next((tmp_path / "long").glob("checkpoint-*/trainer_state.json")).read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert losses[-1] < losses[0]

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    CLIPVisionModel(vision).save_pretrained(tmp_path / "clip")
    seeing = ["--model", str(tmp_path / "long"), "--vision_tower", str(tmp_path / "clip"), "--max_length", "4096"]
    seeing += ["--data", str(rows / "rows.json"), "--images", str(rows), "--output_dir", str(tmp_path / "longva")]
    assert main(["align", str(CONFIGS / "projector.yaml"), *seeing, *small]) == 0
    language = dict(Qwen2ForCausalLM.from_pretrained(tmp_path / "long").named_parameters())
    loaded = load(str(tmp_path / "longva"), device="cpu", dtype="float32")
    assert all(
        torch.equal(language[name], value) for name, value in loaded.model.named_parameters() if name in language
    )
    assert loaded.model.config.rope_base == 1e9
    whole = ["--model", str(tmp_path / "longva"), *seeing[2:], "--output_dir", str(tmp_path / "all")]
    assert main(["align", str(CONFIGS / "align.yaml"), *whole, *small]) == 0
    load(str(tmp_path / "all"), device="cpu", dtype="float32")


def test_text_is_packed_with_an_end_of_text_token_after_each_document(
    tmp_path: Path, processor: LongVAProcessor
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "red"}\n{"text": "blue blue"}\n')
    data = PackedText.read(tmp_path / "a.jsonl", processor.tokenizer, 2)
    everything = torch.cat([data[place]["input_ids"][0] for place in range(len(data))])
    assert processor.tokenizer.decode(everything).startswith("red<|endoftext|>blue")
    with pytest.raises(DemoError, match="at least one sequence of 5,000"):
        PackedText.read(tmp_path / "a.jsonl", processor.tokenizer, 5000)
    (tmp_path / "a.jsonl").write_text("[1]\n")
    with pytest.raises(DemoError, match=r"line 1 of .* has no text"):
        PackedText.read(tmp_path / "a.jsonl", processor.tokenizer, 2)


@pytest.mark.parametrize("name", ["text", "projector", "align"])
def test_published_configs_use_known_flags(name: str) -> None:
    flags = read_flags(str(CONFIGS / f"{name}.yaml"))
    rate = {"text": 1e-5, "projector": 1e-3, "align": 1e-5}[name]
    assert float(flags[flags.index("--learning_rate") + 1]) == rate


def test_bad_input_gives_a_one_line_error(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", str(TINY_FOLDER), "--data", str(rows / "rows.json"), "--output_dir", str(tmp_path / "out")]
    assert main(["align", str(tmp_path / "none.yaml"), *given]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["align", *given, "--model", str(tmp_path / "nowhere"), "--per_device_train_batch_size", "1"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    for wrong in ([], ["dance"]):
        assert main(wrong) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith("usage: python -m longva_demo.train text|align ")
    assert np.all([not path.name.startswith("out") for path in tmp_path.iterdir()])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_exits_with_success(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    said = capsys.readouterr()
    assert "python -m longva_demo.train align" in said.out
    assert said.err == ""
