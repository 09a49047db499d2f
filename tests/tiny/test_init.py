"""The initial weights do what `init.py` says, before any training."""

import random

import pytest
import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.scenes import COLOUR_NAMES, SHAPES, SYMBOLS, WORDS, Mix, Scene, WordSign, cells_of, random_scene
from tools.tiny.ask import WEIGHTS
from tools.tiny.checkpoints import get_tokenizer
from tools.tiny.export import split_checkpoint
from tools.tiny.init import (
    add_layers,
    init_name_embeddings,
    init_previous_token_head,
    init_similarity_attention,
    init_symbol_head,
    init_word_head,
)
from tools.tiny.network import LANGUAGE_DIM, Codes, build_language_model
from tools.tiny.text import SYSTEM, Encoder, train_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(count=60)


def new_model(tokenizer: Tokenizer, num_layers: int) -> Qwen2ForCausalLM:
    encoder = Encoder(tokenizer)
    torch.manual_seed(0)
    model = build_language_model(tokenizer.get_vocab_size(), encoder.end, encoder.pad, num_layers)
    init_name_embeddings(model, encoder, Codes.make())
    init_similarity_attention(model)
    return model.eval()


def test_names_in_a_sentence_start_near_the_codes_of_what_they_name():
    codes, encoder = Codes.make(), Encoder(get_tokenizer(WEIGHTS))
    rows = new_model(encoder.tokenizer, 1).model.embed_tokens.weight
    for index in range(len(COLOUR_NAMES)):
        shape = index % len(SHAPES)
        said = encoder.ids(f"Is the {COLOUR_NAMES[index]} {SHAPES[shape]} at the left?")
        [colour_token, shape_token], left = said[2:4], said[-2]
        assert int((rows[colour_token] @ codes.tables["colour"].T).argmax()) == index
        assert int((rows[shape_token] @ codes.tables["shape"].T).argmax()) == shape
        assert sorted((rows[left] @ codes.place.T).topk(3).indices.tolist()) == [0, 3, 6]


def test_added_layers_start_as_the_identity(tokenizer):
    shallow, deep = new_model(tokenizer, 4), new_model(tokenizer, 7)
    add_layers(deep, shallow.state_dict(), added=(0, 2, 5))
    ids = torch.tensor([Encoder(tokenizer).ids("What colour is the red star at the top?")])
    with torch.no_grad():
        assert torch.allclose(deep(ids).logits, shallow(ids).logits, atol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 64, 1500])
def test_the_word_head_copies_the_word_to_all_later_positions(tokenizer, num_frames):
    """One of many frames has a word. The first layer adds the code of this word alone to the question."""
    codes, rng = Codes.make(), random.Random(num_frames)
    model = new_model(tokenizer, 2)
    add_layers(model, {}, added=(0,))
    init_word_head(model, codes)
    model.config.num_hidden_layers = 1  # the others are not needed
    model.model.norm = torch.nn.Identity()
    question = model.model.embed_tokens(torch.tensor(Encoder(tokenizer).ids("What word is written in the picture?")))
    for word in rng.sample(range(len(WORDS)), 4):
        scenes = [random_scene(rng, Mix(word_share=0.0)) for _ in range(num_frames)]
        at = rng.randrange(num_frames)
        scenes[at] = Scene(scenes[at].background, (), WordSign(word, rng.randrange(3), 0))
        frames = codes.of(cells_of(scenes)).flatten(0, 1)  # (9 * frames, dim)
        with torch.no_grad():
            hidden = model.model(inputs_embeds=torch.cat([frames, question])[None], output_hidden_states=True)
        added = hidden.hidden_states[1][0, len(frames) :] - question
        scores = added @ codes.tables["word"][:-1].T
        assert (scores.argmax(-1) == word).all()
        assert (scores.topk(2).values.diff() < -0.5).all()


@pytest.mark.parametrize("num_frames", [1, 64])
def test_the_symbol_head_marks_symbols_that_are_shown(num_frames):
    """In the bundled model, with this head reset: a symbol in the question is marked if a frame shows the same one."""
    codes, rng, encoder = Codes.make(), random.Random(num_frames), Encoder(get_tokenizer(WEIGHTS))
    _, bundled = split_checkpoint(WEIGHTS)
    model = build_language_model(len(bundled["lm_head.weight"]), encoder.end, encoder.pad).eval()
    model.load_state_dict(bundled)
    init_symbol_head(model, encoder, codes, 1)
    taken: list[torch.Tensor] = []
    model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0]))
    start = model.model.embed_tokens(torch.tensor(encoder.ids(SYSTEM)))
    marks: dict[str, list[float]] = {"shown": [], "not shown": [], "other words": []}
    for _ in range(20):
        scenes = [random_scene(rng, Mix(symbol_share=0.0, bare_share=0.0, word_share=0.0)) for _ in range(num_frames)]
        at = rng.randrange(num_frames)
        scenes[at] = random_scene(rng, Mix(symbol_share=1.0, word_share=0.0), count=1)
        [thing] = scenes[at].things
        frames = codes.of(cells_of(scenes)).flatten(0, 1)  # (9 * frames, dim)
        for symbol in (thing.symbol, (thing.symbol + rng.randrange(1, len(SYMBOLS))) % len(SYMBOLS)):
            ids = encoder.ids(f"\nIs there a {SYMBOLS[symbol]}?")
            parts = [start, frames, model.model.embed_tokens(torch.tensor(ids))]
            with torch.no_grad():
                model.model(inputs_embeds=torch.cat(parts)[None])
            values = taken.pop()[0, -len(ids) :, LANGUAGE_DIM // 2].tolist()
            asked = values.pop(-2)  # before the question mark
            marks["shown" if symbol == thing.symbol else "not shown"].append(asked)
            marks["other words"] += values
    means = {kind: sum(values) / len(values) for kind, values in marks.items()}
    assert means["shown"] > 0.7, means
    assert means["not shown"] < means["shown"] - 0.5, means
    assert means["other words"] < means["shown"] - 0.5, means


def test_the_previous_token_head_attends_a_few_tokens_back(tokenizer):
    """The second head of the first layer attends most to the token two or three positions before."""
    model = new_model(tokenizer, 2)
    init_previous_token_head(model)
    model.set_attn_implementation("eager")
    ids = torch.tensor([Encoder(tokenizer).ids("I see a red star with 7 at the top on a white background. " * 20)])
    with torch.no_grad():
        attention = model.model(ids, output_attentions=True).attentions[0][0, 1]  # (tokens, tokens)
    places = torch.arange(ids.shape[1])
    distance = places - attention.argmax(-1)
    assert ids.shape[1] > 200
    assert distance[4:].min() >= 2
    assert distance[4:].max() <= 3
