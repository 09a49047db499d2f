"""What the reader begins with does what it is said to do, before any training."""

import random

import pytest
import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.scenes import SYMBOLS, WORDS, Mix, Scene, WordSign, cells_of, random_scene
from tools.tiny.ask import WEIGHTS
from tools.tiny.beginnings import (
    attend_to_likeness,
    deepen,
    find_symbols,
    look_back,
    name_the_codes,
    notice_words,
)
from tools.tiny.export import take_apart
from tools.tiny.network import LANGUAGE_DIM, Codes, build_reader
from tools.tiny.text import SYSTEM, Encoder, train_tokenizer
from tools.tiny.train import get_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(count=60)


def new_reader(tokenizer: Tokenizer, num_layers: int) -> Qwen2ForCausalLM:
    encoder = Encoder(tokenizer)
    torch.manual_seed(0)
    reader = build_reader(tokenizer.get_vocab_size(), encoder.end, encoder.pad, num_layers)
    name_the_codes(reader, encoder, Codes.make())
    attend_to_likeness(reader)
    return reader.eval()


def test_an_added_layer_changes_nothing_at_first(tokenizer):
    shallow, deep = new_reader(tokenizer, 4), new_reader(tokenizer, 7)
    deepen(deep, shallow.state_dict(), added=(0, 2, 5))
    ids = torch.tensor([Encoder(tokenizer).ids("What colour is the red star at the top?")])
    with torch.no_grad():
        assert torch.allclose(deep(ids).logits, shallow(ids).logits, atol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 64, 1500])
def test_every_later_place_is_told_which_word_there_is(tokenizer, num_frames):
    """One frame of many has a word; the first layer adds that word's code to the question, and no other."""
    codes, rng = Codes.make(), random.Random(num_frames)
    reader = new_reader(tokenizer, 2)
    deepen(reader, {}, added=(0,))
    notice_words(reader, codes)
    question = reader.model.embed_tokens(torch.tensor(Encoder(tokenizer).ids("What word is written in the picture?")))
    for word in rng.sample(range(len(WORDS)), 4):
        scenes = [random_scene(rng, Mix(word_share=0.0)) for _ in range(num_frames)]
        at = rng.randrange(num_frames)
        scenes[at] = Scene(scenes[at].background, (), WordSign(word, rng.randrange(3), 0))
        frames = codes.of(cells_of(scenes)).flatten(0, 1)  # (9 * frames, dim)
        with torch.no_grad():
            hidden = reader.model(inputs_embeds=torch.cat([frames, question])[None], output_hidden_states=True)
        told = hidden.hidden_states[1][0, len(frames) :] - question
        shares = told @ codes.tables["word"][:-1].T
        assert (shares.argmax(-1) == word).all()
        assert (shares.topk(2).values.diff() < -0.5).all()


@pytest.mark.parametrize("num_frames", [1, 64])
def test_a_symbol_in_a_question_is_told_whether_it_is_shown(num_frames):
    """In the bundled reader, begun anew: of a frame with a symbol the question's takes the sign, if it is the same."""
    codes, rng, encoder = Codes.make(), random.Random(num_frames), Encoder(get_tokenizer(WEIGHTS))
    _, bundled = take_apart(WEIGHTS)
    reader = build_reader(len(bundled["lm_head.weight"]), encoder.end, encoder.pad).eval()
    reader.load_state_dict(bundled)
    find_symbols(reader, encoder, codes, 1)
    taken: list[torch.Tensor] = []
    reader.model.layers[1].self_attn.o_proj.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0]))
    start = reader.model.embed_tokens(torch.tensor(encoder.ids(SYSTEM)))
    told: dict[str, list[float]] = {"shown": [], "not shown": [], "other words": []}
    for _ in range(20):
        scenes = [random_scene(rng, Mix(symbol_share=0.0, bare_share=0.0, word_share=0.0)) for _ in range(num_frames)]
        at = rng.randrange(num_frames)
        scenes[at] = random_scene(rng, Mix(symbol_share=1.0, word_share=0.0), count=1)
        [thing] = scenes[at].things
        frames = codes.of(cells_of(scenes)).flatten(0, 1)  # (9 * frames, dim)
        for symbol in (thing.symbol, (thing.symbol + rng.randrange(1, len(SYMBOLS))) % len(SYMBOLS)):
            ids = encoder.ids(f"\nIs there a {SYMBOLS[symbol]}?")
            parts = [start, frames, reader.model.embed_tokens(torch.tensor(ids))]
            with torch.no_grad():
                reader.model(inputs_embeds=torch.cat(parts)[None])
            signs = taken.pop()[0, -len(ids) :, LANGUAGE_DIM // 2].tolist()
            asked = signs.pop(-2)  # before the question mark
            told["shown" if symbol == thing.symbol else "not shown"].append(asked)
            told["other words"] += signs
    means = {kind: sum(values) / len(values) for kind, values in told.items()}
    assert means["shown"] > 0.7, means
    assert means["not shown"] < means["shown"] - 0.5, means
    assert means["other words"] < means["shown"] - 0.5, means


def test_text_is_looked_back_upon(tokenizer):
    """The second head of the first layer attends most to what stands two or three tokens before."""
    reader = new_reader(tokenizer, 2)
    look_back(reader)
    reader.set_attn_implementation("eager")
    ids = torch.tensor([Encoder(tokenizer).ids("I see a red star with 7 at the top on a white background. " * 20)])
    with torch.no_grad():
        attention = reader.model(ids, output_attentions=True).attentions[0][0, 1]  # (tokens, tokens)
    places = torch.arange(ids.shape[1])
    distance = places - attention.argmax(-1)
    assert ids.shape[1] > 200
    assert distance[4:].min() >= 2
    assert distance[4:].max() <= 3
