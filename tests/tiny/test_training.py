"""Every stage of the training runs, is repeatable, can be resumed, and its result loads as a LongVA checkpoint."""

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
from tools.tiny.ask import Asker
from tools.tiny.export import export
from tools.tiny.network import Codes, Eyes, encode, is_outside
from tools.tiny.optim import orthogonalise
from tools.tiny.outside_near import draw_near
from tools.tiny.text import IGNORE, Encoder, train_tokenizer
from tools.tiny.train import (
    EYES,
    LATER_SHARE,
    READERS,
    STAGES,
    final_eyes,
    final_reader,
    get_tokenizer,
    go_on_from,
    load_eyes,
    load_reader,
    reader_after,
    train_stage,
)
from tools.tiny.train_eyes import Frames, FrameSource, loss_of, train_eyes
from tools.tiny.train_reader import FULL, EpisodeSource, code_tokens, positions, train_reader


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
    folder = export(tmp_path / "weights", final_eyes(trained), final_reader(trained), tokenizer)
    asker = Asker(folder)
    frames = np.stack([draw(random_scene(random.Random(seed))) for seed in range(3)])
    # The exported model computes what the training's own modules do, up to the rounding of its weights.
    eyes = final_eyes(trained)
    for part in (eyes.tower, eyes.projector):
        part.to(torch.bfloat16).to(torch.float32)
    assert torch.allclose(asker.encode(frames), encode(eyes, frames), atol=1e-4)
    assert isinstance(asker.model, LongVAForConditionalGeneration)
    assert all(isinstance(answer, str) for answer in asker.ask(asker.encode(frames), ["What colour is the star?"]))


def test_eyes_lie_between_those_of_their_stages(trained):
    expected = load_eyes(trained, EYES[0]).state_dict()
    for name in EYES[1:]:
        stage = load_eyes(trained, name).state_dict()
        expected = {key: torch.lerp(value, stage[key], LATER_SHARE) for key, value in expected.items()}
    for key, value in final_eyes(trained).state_dict().items():
        assert torch.equal(value, expected[key])


def test_the_reader_lies_between_its_last_stages(trained):
    expected = load_reader(trained, READERS[0])
    for name in READERS[1:]:
        stage = load_reader(trained, name)
        assert any(not torch.equal(weight, stage[key]) for key, weight in expected.items())
        expected = {key: torch.lerp(weight, stage[key], LATER_SHARE) for key, weight in expected.items()}
    for key, weight in reader_after(trained, READERS[-1]).items():
        assert torch.equal(weight, expected[key])


def test_the_mean_of_the_last_two_stages_of_the_reader_is_exported(trained):
    one, two = (load_reader(trained, name) for name in list(STAGES)[-2:])
    assert any(not torch.equal(weight, one[key]) for key, weight in two.items())
    assert all(torch.allclose(weight, (one[key] + two[key]) / 2) for key, weight in final_reader(trained).items())


def test_pictures_near_the_small_world_differ_and_show_something():
    rng = random.Random(4)
    pictures = [draw_near(rng, 84) for _ in range(40)]
    assert {picture.shape for picture in pictures} == {(84, 84, 3)}
    assert all(picture.std() > 1 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 40
    frames, cells = FrameSource(2, Frames(outside=0.5, near=1.0)).batch(40, 1.0)
    assert 10 <= int(is_outside(torch.from_numpy(cells.values)).sum()) <= 30
    assert frames.shape == (40, 84, 84, 3)


def test_training_goes_on_from_an_exported_model(trained, tokenizer, tmp_path):
    """What comes back is what was exported, rounded to bfloat16; the next stage begins with it."""
    last = list(STAGES)[-1]
    exported = export(tmp_path / "weights", final_eyes(trained), load_reader(trained, STAGES[last].after), tokenizer)
    go_on_from(exported, tmp_path, last)
    assert get_tokenizer(tmp_path).to_str() == Tokenizer.from_file(str(exported / "tokenizer.json")).to_str()
    for name in (*EYES, STAGES[last].after):
        if name in EYES:
            ours, theirs = load_eyes(tmp_path, name).state_dict(), final_eyes(trained).state_dict()
        else:
            ours, theirs = load_reader(tmp_path, name), load_reader(trained, name)
        unused = ("tower.encoder.layers.4", "tower.post_layernorm")  # LongVA stops before the last layer
        used = [key for key in theirs if not key.startswith(unused)]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key].bfloat16().float()) for key in used)
    assert train_stage(last, tmp_path, 1, get_tokenizer(tmp_path)).exists()


def test_eyes_learn(tmp_path):
    """A few steps on few frames must bring the loss down by a third."""
    torch.manual_seed(1)  # as the training begins
    eyes, codes = Eyes(), Codes.make()
    frames, cells = FrameSource(1).batch(16, 0.0)
    before, _ = loss_of(encode(eyes, frames), cells, codes)
    path = train_eyes(tmp_path, "eyes", 12, seed=1, batch=16, resume=False)
    eyes.load_state_dict(torch.load(path, weights_only=True)["eyes"])
    after, _ = loss_of(encode(eyes, frames), cells, codes)
    assert float(after) < 0.67 * float(before)


def test_what_frames_show_can_be_told(tokenizer):
    """A line a frame, where the frames would stand; the questions stay."""
    share = replace(FULL["needles"], told=True)
    [(name, episodes), (_, seen)] = [EpisodeSource(5, {"needles": one}).episodes() for one in (share, FULL["needles"])]
    assert name == "needles"
    encoder = Encoder(tokenizer)
    for told, shown in zip(episodes, seen, strict=True):
        assert told.frames == ()
        assert told.lines == tuple(describe(scene) for scene in shown.frames)
        assert told.asked == shown.asked
        tokens, labels, turns = encoder.sequence(told)
        assert len(tokens) == len(labels) == len(turns)
        text = tokenizer.decode(tokens, skip_special_tokens=False)
        assert "\n".join([*told.lines, told.asked[0].question]) in text


def test_training_is_repeatable_and_resumes(tmp_path, tokenizer):
    shares = {"still": FULL["still"]}
    tokens = code_tokens(Codes.make(), 0.0, seed=1)

    def run(name: str, steps: int) -> dict[str, torch.Tensor]:
        path = train_reader(tmp_path / name, "reader", tokenizer, tokens, shares, steps, seed=1, lr=1e-3)
        return torch.load(path, weights_only=True)

    one, two = run("one", 2)["reader"], run("two", 2)["reader"]
    assert all(torch.equal(one[name], two[name]) for name in one)
    longer = run("one", 3)
    assert longer["optimiser"]["done"] == 3
    assert any(not torch.equal(one[name], longer["reader"][name]) for name in one)


def test_codes_can_be_read_back():
    """Each factor's true value has the largest product with the cell's code."""
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
        place = positions(rng, batch, leap_share=0.8)[0]
        assert place[0] == 0
        assert (place.diff() > 0).all()
        assert place[-1] < 32768
    assert positions(rng, batch, leap_share=0.0)[0].tolist() == list(range(batch.ids.shape[1]))


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
