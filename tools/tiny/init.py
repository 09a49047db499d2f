"""Initial weights of the language model, and how a stage adds layers to it.

From random weights, a small transformer spends most of its training on learning that "star" in a question refers to
the cell that shows a star. So names start near the scene codes of what they name, and attention starts by similarity.
All of these weights are trained like any other.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.clips import picture
from longva_demo.tiny.questions import plural
from longva_demo.tiny.scenes import (
    BACKGROUND_NAMES,
    COLOUR_NAMES,
    FACTORS,
    NO_WORD,
    SHAPES,
    SYMBOLS,
    WORDS,
    Mix,
    cells_of,
    random_scene,
)
from tools.tiny.network import CODE_NORM, LANGUAGE, LANGUAGE_DIM, ROPE_THETA, Codes
from tools.tiny.text import Encoder

NAME_SCALE = 0.6  # initial length of a name's embedding, relative to its code


def init_name_embeddings(model: Qwen2ForCausalLM, encoder: Encoder, codes: Codes) -> None:
    """Start names of colours, shapes, symbols, words and positions near the codes of what they name."""
    rows = model.model.embed_tokens.weight
    names = {"colour": COLOUR_NAMES, "shape": SHAPES, "symbol": tuple(SYMBOLS), "word": WORDS}
    names["background"] = BACKGROUND_NAMES
    columns = {"left": (0, 3, 6), "right": (2, 5, 8), " left": (0, 3, 6), " right": (2, 5, 8), " centre": (4,)}
    lines = {" top": (0, 1, 2), " bottom": (6, 7, 8), " up": (0, 1, 2), " down": (6, 7, 8)}
    with torch.no_grad():
        # Some colours are backgrounds too: the colour comes later, and so determines the embedding.
        for factor in ("background", "colour", "shape", "word", "symbol"):
            for value, name in enumerate(names[factor]):
                for token in _single_tokens(encoder, name, f" {name}", f" {plural(name)}"):
                    rows[token] = NAME_SCALE * codes.tables[factor][value]
        for name, cells in (columns | lines).items():
            for token in _single_tokens(encoder, name):
                direction = codes.place[list(cells)].sum(0)
                rows[token] += NAME_SCALE * CODE_NORM * direction / direction.norm()


def _single_tokens(encoder: Encoder, *forms: str) -> list[int]:
    """The tokens that are exactly one of `forms`, looked up by name: the normalizer would remove a leading space."""
    tokens = (encoder.tokenizer.token_to_id(form.replace(" ", "Ġ")) for form in forms)
    return [token for token in tokens if token is not None]


def init_word_embeddings(model: Qwen2ForCausalLM, encoder: Encoder, codes: Codes) -> None:
    """Move "word" and similar tokens towards the difference between cells with and without a word.

    Without this, the language model did not detect words within 1,500 steps, though it could read everything else.
    """
    rows = model.model.embed_tokens.weight
    common = codes.tables["word"][:-1].sum(0) / len(WORDS) ** 0.5 - codes.tables["word"][-1]
    with torch.no_grad():
        for token in _single_tokens(encoder, "word", " word", " text", " written", " say"):
            rows[token] += NAME_SCALE * CODE_NORM * common / common.norm()


def init_similarity_attention(model: Qwen2ForCausalLM) -> None:
    """Start queries equal to keys, so that tokens attend to similar ones, and let the output return the values."""
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            nn.init.normal_(attention.q_proj.weight, std=0.065)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            nn.init.normal_(attention.v_proj.weight, std=0.04)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)


def init_previous_token_head(model: Qwen2ForCausalLM, distance: float = 2.5) -> None:
    """Start the second head of the first layer as a previous-token head, `distance` tokens back.

    In text, "a red star with 7" is several tokens. The head collects them in one position, as a frame's cell does.
    Queries and keys are constant and differ by a rotation. RoPE rotates pair i by theta ** -(i / pairs) per token, so
    their product is largest at `distance`, and at most half as large beyond twice that.
    """
    attention = model.model.layers[0].self_attn
    width = LANGUAGE_DIM // LANGUAGE["num_attention_heads"]
    pairs, sharpness = 8, 1.5
    length = (sharpness * width**0.5) ** 0.5
    rates = torch.tensor([ROPE_THETA ** (-pair / (width // 2)) for pair in range(pairs)])
    with torch.no_grad():
        for projection, angles in ((attention.q_proj, -rates * distance), (attention.k_proj, 0 * rates)):
            projection.weight[width:] = 0
            projection.bias[width:] = 0
            projection.bias[width : width + pairs] = length * angles.cos()
            projection.bias[width + width // 2 : width + width // 2 + pairs] = length * angles.sin()


def add_layers(model: Qwen2ForCausalLM, shallow: dict[str, Tensor], added: Sequence[int]) -> None:
    """Load the weights of a model without the layers `added`, which start as the identity."""
    layers = model.model.layers
    kept = [number for number in range(len(layers)) if number not in added]
    state = model.state_dict()
    for name, value in shallow.items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(kept[int(parts[2])])
        state[".".join(parts)] = value
    model.load_state_dict(state)
    with torch.no_grad():
        for number in added:
            layers[number].self_attn.o_proj.weight.zero_()
            layers[number].mlp.down_proj.weight.zero_()


def init_word_head(model: Qwen2ForCausalLM, codes: Codes) -> None:
    """Start the second head of the first layer by copying the word in the frames to all later positions.

    "What word is it?" is not similar to any word, so attention by similarity did not find it in 6,000 steps. This head
    attends from everywhere, at any distance, to the cell with a word. Queries and keys use one dimension that RoPE
    hardly rotates; the values keep only which word the cell shows.
    """
    attention = model.model.layers[0].self_attn
    width = LANGUAGE_DIM // LANGUAGE["num_attention_heads"]
    slowest = width + width // 2 - 1  # the last dimension of the first half rotates slowest
    words = codes.tables["word"][:-1] / CODE_NORM
    values = slice(width, width + len(words))
    with torch.no_grad():
        for name in ("q_proj", "k_proj"):
            getattr(attention, name).weight[width:] = 0
            getattr(attention, name).bias[width:] = 0
        attention.q_proj.bias[slowest] = 10.0
        attention.k_proj.weight[slowest] = 12.0 * word_direction(model.model.embed_tokens.weight, codes)
        attention.v_proj.weight[width:] = 0
        attention.v_proj.weight[values] = words
        attention.o_proj.weight[:, values] = 0.5 * words.T


def word_direction(rows: Tensor, codes: Codes) -> Tensor:
    """(dim,): a direction whose product is near 1 for cells with a word, and near 0 for other cells and all text.

    Found by ridge regression on RMS-normalised vectors. `rows`: the embeddings (vocabulary, dim).
    """
    rng = random.Random(3)
    cells = cells_of([random_scene(rng, Mix(word_share=0.9)) for _ in range(1500)])
    seen = codes.of(cells).flatten(0, 1)
    has_word = torch.from_numpy(cells.values[..., list(FACTORS).index("word")]).flatten() != NO_WORD
    kinds = ((seen[has_word], 1.0, 1.0), (seen[~has_word][:4000], 0.0, 1.0), (rows, 0.0, 4.0))
    inputs = torch.cat([weight**0.5 * part / part.square().mean(-1, keepdim=True).sqrt() for part, _, weight in kinds])
    wanted = torch.cat([torch.full((len(part),), weight**0.5 * value) for part, value, weight in kinds])
    return torch.linalg.solve(inputs.T @ inputs + torch.eye(inputs.shape[1]), inputs.T @ wanted)


def init_symbol_head(model: Qwen2ForCausalLM, encoder: Encoder, codes: Codes, number: int) -> None:
    """Start the second head of layer `number` by marking digits and letters in text that the frames show too.

    For 17,000 steps the model found the shape with a 7 but guessed whether there was one: attention always finds
    something. In this head a symbol attends to the same symbol in the frames, or to the first token if there is none.
    Only frames return a mark. Queries and keys use pairs of dimensions that RoPE hardly rotates.
    """
    attention = model.model.layers[number].self_attn
    width = LANGUAGE_DIM // LANGUAGE["num_attention_heads"]
    half, count = width // 2, len(SYMBOLS)
    slow = torch.arange(half - count // 2, half)
    symbols, first = width + torch.cat([slow, slow + half]), width + half - count // 2 - 1
    states, shown, written = _states(model, encoder, codes, number)
    is_cell, is_first = shown >= 0, torch.zeros(shown.shape, dtype=torch.bool)
    is_first[:, 0] = True
    # one row per symbol; the row for "none" is dropped
    asked = _readout(states, functional.one_hot(written, count + 1)[..., :count].float())
    seen = _readout(states[is_cell], functional.one_hot(shown[is_cell], count + 1)[..., :count].float())
    kind = _readout(states, (is_first.float() - 3 * (~is_cell & ~is_first).float())[..., None])
    has_symbol = _readout(states, (is_cell & (shown < count)).float()[..., None])
    mark = torch.randn(LANGUAGE_DIM, generator=torch.Generator().manual_seed(11))
    match, sink = (
        17.0,
        11.5,
    )  # logits: match² / √width = 36 for the same symbol, sink² / √width = 16 for the first token
    with torch.no_grad():
        for name in ("q_proj", "k_proj"):
            getattr(attention, name).weight[width:] = 0
            getattr(attention, name).bias[width:] = 0
        attention.q_proj.weight[symbols] = match * asked
        attention.k_proj.weight[symbols] = match * seen
        attention.q_proj.bias[first] = sink
        attention.k_proj.weight[first] = sink * kind[0]
        attention.v_proj.weight[width:] = 0
        attention.v_proj.weight[width] = has_symbol[0]
        attention.o_proj.weight[:, width] = CODE_NORM * mark / mark.norm()


@torch.no_grad()
def _states(model: Qwen2ForCausalLM, encoder: Encoder, codes: Codes, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of layer `number` on pictures and questions about their symbols.

    Returns states (sequences, length, dim), the symbol shown at each position (-1: not a frame token; the last: none),
    and the symbol written there in text (the last: none), both (sequences, length).
    """
    rng = random.Random(5)
    episodes = [picture(rng, Mix(symbol_share=0.7), 6, {"is_symbol_there": 1.0, "who_has": 0.5}) for _ in range(200)]
    batch = encoder.batch(episodes, isolated=True)
    cells = cells_of([scene for episode in episodes for scene in episode.frames])
    embedded = model.model.embed_tokens(batch.ids).masked_scatter(batch.is_frame[..., None], codes.of(cells))
    layer = model.model.layers[number]
    taken: list[Tensor] = []
    hook = layer.input_layernorm.register_forward_hook(lambda _module, _inputs, output: taken.append(output))
    model.model(inputs_embeds=embedded, attention_mask={"full_attention": batch.mask()}, use_cache=False)
    hook.remove()
    shown = torch.full(batch.ids.shape, -1)
    shown[batch.is_frame] = torch.from_numpy(cells.values[..., list(FACTORS).index("symbol")]).flatten()
    written = torch.full(batch.ids.shape, len(SYMBOLS))
    for symbol, name in enumerate(SYMBOLS):
        for token in _single_tokens(encoder, name, f" {name}"):
            written[(batch.ids == token) & ~batch.is_frame] = symbol
    return taken[0], shown, written


def _readout(states: Tensor, wanted: Tensor) -> Tensor:
    """Ridge regression: weights (outputs, dim) that map states (…, dim) to `wanted` (…, outputs)."""
    inputs, targets = states.flatten(0, -2), wanted.flatten(0, -2)
    return torch.linalg.solve(inputs.T @ inputs + torch.eye(inputs.shape[1]), inputs.T @ targets).T
