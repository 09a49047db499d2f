"""Every stage of the training runs, is repeatable and can be resumed. The result loads as a LongVA checkpoint."""

import doctest
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from longva_demo.model import LongVAForConditionalGeneration
from longva_demo.tiny.clips import needles, picture
from longva_demo.tiny.degrade import degrade
from longva_demo.tiny.draw import draw
from longva_demo.tiny.questions import describe
from longva_demo.tiny.scenes import Mix, cells_of, random_scene
from tools.tiny import checkpoints
from tools.tiny.ask import TinyModel
from tools.tiny.checkpoints import (
    final_language_model,
    final_vision,
    get_tokenizer,
    interpolated_up_to,
    language_model_after,
    load_language_model,
    load_vision,
    start_from_export,
)
from tools.tiny.episodes import EpisodeSource
from tools.tiny.export import export
from tools.tiny.frame_tokens import code_tokens
from tools.tiny.hard_negatives import draw_hard_negative
from tools.tiny.mixtures import ALL_CLIPS
from tools.tiny.network import Codes, VisionModel, encode, is_out_of_scope
from tools.tiny.optim import orthogonalise
from tools.tiny.stages import AVERAGED, INTERPOLATED, INTERPOLATION, STAGES, VISION_STAGES, LanguageStage
from tools.tiny.text import IGNORE, Encoder, train_tokenizer
from tools.tiny.train import train_stage
from tools.tiny.train_language_model import positions, train_language_model
from tools.tiny.train_vision import FrameMix, FrameSource, loss_of, train_vision

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(count=60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """All stages for one step each."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in STAGES:
        path = train_stage(name, folder, 1, tokenizer)
        assert path == folder / f"{name}.pt"
    return folder


def test_stages_lead_to_a_checkpoint_that_answers(trained, tokenizer, tmp_path):
    folder = export(tmp_path / "weights", final_vision(trained), final_language_model(trained), tokenizer)
    model = TinyModel(folder)
    frames = np.stack([draw(random_scene(random.Random(seed))) for seed in range(3)])
    # The exported model computes the same as the modules of the training, up to rounding to bfloat16.
    vision = final_vision(trained)
    for part in (vision.tower, vision.projector):
        part.to(torch.bfloat16).to(torch.float32)
    assert torch.allclose(model.encode(frames), encode(vision, frames), atol=1e-4)
    assert isinstance(model.model, LongVAForConditionalGeneration)
    assert all(isinstance(answer, str) for answer in model.ask(model.encode(frames), ["What colour is the star?"]))


def test_vision_weights_are_interpolated_between_stages(trained):
    first, *later = VISION_STAGES
    expected = load_vision(trained, first).state_dict()
    for name in later:
        stage = load_vision(trained, name).state_dict()
        expected = {key: torch.lerp(value, stage[key], INTERPOLATION) for key, value in expected.items()}
    for key, value in final_vision(trained).state_dict().items():
        assert torch.equal(value, expected[key])


def test_language_model_weights_are_interpolated_between_stages(trained):
    first, *later = interpolated_up_to(INTERPOLATED[-1])
    assert later == list(INTERPOLATED)
    expected = load_language_model(trained, first)
    for name in later:
        stage = load_language_model(trained, name)
        assert any(not torch.equal(weight, stage[key]) for key, weight in expected.items())
        expected = {key: torch.lerp(weight, stage[key], INTERPOLATION) for key, weight in expected.items()}
    for key, weight in language_model_after(trained, INTERPOLATED[-1]).items():
        assert torch.equal(weight, expected[key])


def test_the_mean_of_the_last_two_stages_is_exported(trained):
    assert list(AVERAGED) == list(STAGES)[-2:]
    assert len({STAGES[name].after for name in AVERAGED}) == 1
    one, two = (load_language_model(trained, name) for name in AVERAGED)
    exported = final_language_model(trained)
    assert any(not torch.equal(weight, one[key]) for key, weight in two.items())
    assert all(torch.allclose(weight, (one[key] + two[key]) / 2) for key, weight in exported.items())


def test_hard_negatives_vary_and_have_content():
    rng = random.Random(4)
    pictures = [draw_hard_negative(rng, 84) for _ in range(40)]
    assert {picture.shape for picture in pictures} == {(84, 84, 3)}
    assert all(picture.std() > 1 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 40
    frames, cells = FrameSource(2, FrameMix(out_of_scope=0.5, hard_negatives=1.0)).batch(40, 1.0)
    assert 10 <= int(is_out_of_scope(torch.from_numpy(cells.values)).sum()) <= 30
    assert frames.shape == (40, 84, 84, 3)


def test_training_starts_from_an_exported_model(trained, tokenizer, tmp_path):
    """The weights are those exported, rounded to bfloat16, and the next stage starts from them."""
    last = list(STAGES)[-1]
    before = load_language_model(trained, STAGES[last].after)
    exported = export(tmp_path / "weights", final_vision(trained), before, tokenizer)
    start_from_export(exported, tmp_path, last)
    assert get_tokenizer(tmp_path).to_str() == Tokenizer.from_file(str(exported / "tokenizer.json")).to_str()
    for name in (*VISION_STAGES, STAGES[last].after):
        if name in VISION_STAGES:
            ours, theirs = load_vision(tmp_path, name).state_dict(), final_vision(trained).state_dict()
        else:
            ours, theirs = load_language_model(tmp_path, name), load_language_model(trained, name)
        unused = ("tower.encoder.layers.4", "tower.post_layernorm")  # LongVA does not use the last layer
        used = [key for key in theirs if not key.startswith(unused)]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key].bfloat16().float()) for key in used)
    assert train_stage(last, tmp_path, 1, get_tokenizer(tmp_path)).exists()


def test_the_vision_model_learns(tmp_path):
    """A few steps on few frames reduce the loss by a third."""
    torch.manual_seed(1)  # the same initial weights as in the training
    vision, codes = VisionModel(), Codes.make()
    frames, cells = FrameSource(1).batch(16, 0.0)
    before, _ = loss_of(encode(vision, frames), cells, codes)
    path = train_vision(tmp_path, "vision", 12, seed=1, batch=16, resume=False)
    vision.load_state_dict(torch.load(path, weights_only=True)["vision"])
    after, _ = loss_of(encode(vision, frames), cells, codes)
    assert float(after) < 0.67 * float(before)


def test_frames_can_be_replaced_with_text(tokenizer):
    """One line per frame, in place of the frames, with the same questions."""
    kinds = (replace(ALL_CLIPS["needles"], as_text=True), ALL_CLIPS["needles"])
    [(name, episodes), (_, seen)] = [EpisodeSource(5, {"needles": kind}).episodes() for kind in kinds]
    assert name == "needles"
    encoder = Encoder(tokenizer)
    for text_only, shown in zip(episodes, seen, strict=True):
        assert text_only.frames == ()
        assert text_only.lines == tuple(describe(scene) for scene in shown.frames)
        assert text_only.asked == shown.asked
        tokens, labels, turns = encoder.sequence(text_only)
        assert len(tokens) == len(labels) == len(turns)
        text = tokenizer.decode(tokens, skip_special_tokens=False)
        assert "\n".join([*text_only.lines, text_only.asked[0].question]) in text


def test_training_is_repeatable_and_resumes(tmp_path, tokenizer):
    stage = LanguageStage(3, seed=1, lr=1e-3, mixture={"still": ALL_CLIPS["still"]})
    tokens = code_tokens(Codes.make(), 0.0, seed=1)

    def run(name: str, steps: int) -> dict[str, torch.Tensor]:
        path = train_language_model(tmp_path / name, "language", stage, tokenizer, tokens, steps)
        return torch.load(path, weights_only=True)

    one, two = run("one", 2)["language_model"], run("two", 2)["language_model"]
    assert all(torch.equal(one[name], two[name]) for name in one)
    longer = run("one", 3)
    assert longer["optimiser"]["done"] == 3
    assert any(not torch.equal(one[name], longer["language_model"][name]) for name in one)


def test_doctests():
    assert doctest.testmod(checkpoints).failed == 0


def test_codes_can_be_read_back():
    """The true value of each factor has the largest product with the code of its cell."""
    codes, rng = Codes.make(), random.Random(4)
    cells = cells_of([random_scene(rng) for _ in range(20)])
    features = codes.of(cells)
    for index, table in enumerate(codes.tables.values()):
        assert torch.equal((features @ table.T).argmax(-1), torch.from_numpy(cells.values[..., index]))


def test_only_answers_are_learned(tokenizer):
    encoder, rng = Encoder(tokenizer), random.Random(1)
    episodes = [picture(rng, Mix(), 3), needles(rng, 16, 2, 3)]
    batch = encoder.batch(episodes)
    assert batch.is_frame.sum(1).tolist() == [9, 144]
    for episode, labels in zip(episodes, batch.labels, strict=True):
        wanted = [token for one in episode.asked for token in [*encoder.ids(one.answer), encoder.end]]
        assert labels[labels != IGNORE].tolist() == wanted


def test_positions_rise_and_stay_in_the_context(tokenizer):
    rng = random.Random(2)
    batch = Encoder(tokenizer).batch([needles(rng, 64, 2, 2)])
    for _ in range(50):
        ids = positions(rng, batch, skip_share=0.8)[0]
        assert ids[0] == 0
        assert (ids.diff() > 0).all()
        assert ids[-1] < 32768
    assert positions(rng, batch, skip_share=0.0)[0].tolist() == list(range(batch.ids.shape[1]))


def test_orthogonalise():
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert ((values > 0.5) & (values < 1.3)).all()


def test_degraded_frames_stay_recognisable():
    rng = random.Random(3)
    frames = np.stack([draw(random_scene(rng)) for _ in range(64)])
    worse = degrade(frames, rng, group=8)
    assert worse.shape == frames.shape
    assert not np.array_equal(worse, frames)
    assert np.abs(worse.astype(int) - frames).mean() < 25
