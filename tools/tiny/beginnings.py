"""Where the reader begins: words near what they name, and attention from like to like; and how it gets more layers.

A small transformer that starts from noise takes most of its training to find out that "star" in a question has to do
with the cell that shows a star. Nothing of this is fixed: all of it is trained on like every other weight.
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

NAMED = 0.6  # length of a name's first embedding, as a share of its code's


def name_the_codes(reader: Qwen2ForCausalLM, encoder: Encoder, codes: Codes) -> None:
    """Names of colours, shapes, symbols, words and places begin near the codes of what they name."""
    rows = reader.model.embed_tokens.weight
    names = {"colour": COLOUR_NAMES, "shape": SHAPES, "symbol": tuple(SYMBOLS), "word": WORDS}
    names["background"] = BACKGROUND_NAMES
    columns = {"left": (0, 3, 6), "right": (2, 5, 8), " left": (0, 3, 6), " right": (2, 5, 8), " centre": (4,)}
    lines = {" top": (0, 1, 2), " bottom": (6, 7, 8), " up": (0, 1, 2), " down": (6, 7, 8)}
    with torch.no_grad():
        for factor in ("background", "colour", "shape", "word", "symbol"):  # black is first of all a colour
            for value, name in enumerate(names[factor]):
                for token in _single_tokens(encoder, name, f" {name}", f" {plural(name)}"):
                    rows[token] = NAMED * codes.tables[factor][value]
        for name, cells in (columns | lines).items():
            for token in _single_tokens(encoder, name):
                direction = codes.place[list(cells)].sum(0)
                rows[token] += NAMED * CODE_NORM * direction / direction.norm()


def _single_tokens(encoder: Encoder, *forms: str) -> list[int]:
    return [ids[0] for ids in map(encoder.ids, forms) if len(ids) == 1]


def name_the_words(reader: Qwen2ForCausalLM, encoder: Encoder, codes: Codes) -> None:
    """ "word" and its like move towards what all words have in common and a cell without a word lacks.

    Without this the reader did not notice words in 1,500 steps, though it could name whatever it looked at.
    """
    rows = reader.model.embed_tokens.weight
    common = codes.tables["word"][:-1].sum(0) / len(WORDS) ** 0.5 - codes.tables["word"][-1]
    with torch.no_grad():
        for token in _single_tokens(encoder, "word", " word", " text", " written", " say"):
            rows[token] += NAMED * CODE_NORM * common / common.norm()


def attend_to_likeness(reader: Qwen2ForCausalLM) -> None:
    """Queries begin equal to keys, so that like attends to like, and outputs hand on what the values took."""
    with torch.no_grad():
        for layer in reader.model.layers:
            attention = layer.self_attn
            nn.init.normal_(attention.q_proj.weight, std=0.065)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            nn.init.normal_(attention.v_proj.weight, std=0.04)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)


def look_back(reader: Qwen2ForCausalLM, distance: float = 2.5) -> None:
    """The second head of the first layer begins by looking a few tokens back: for text, where "a red star with 7" is
    several tokens. What a token is about then comes to stand where the token stands, as in a frame's cell.

    Its queries and keys are the same everywhere and differ by a turn: RoPE turns pair i by theta ** -(i / pairs) a
    token, so that the product is greatest at `distance`, half of that or less beyond twice the distance.
    """
    attention = reader.model.layers[0].self_attn
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


def deepen(reader: Qwen2ForCausalLM, shallow: dict[str, Tensor], added: Sequence[int]) -> None:
    """Load the weights of a reader that lacks the layers `added`, which begin by handing on what they are given."""
    layers = reader.model.layers
    kept = [number for number in range(len(layers)) if number not in added]
    state = reader.state_dict()
    for name, value in shallow.items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(kept[int(parts[2])])
        state[".".join(parts)] = value
    reader.load_state_dict(state)
    with torch.no_grad():
        for number in added:
            layers[number].self_attn.o_proj.weight.zero_()
            layers[number].mlp.down_proj.weight.zero_()


def notice_words(reader: Qwen2ForCausalLM, codes: Codes) -> None:
    """The second head of the first layer begins by telling every later place which word stands in the pictures.

    Nothing in "what word is it?" is like the word that is asked for: in 6,000 steps it was not found. The head looks
    from everywhere, at any distance, at the cell that has a word: its queries and keys use one dimension, of those
    that RoPE hardly turns, and take from a cell's vector only which word it shows.
    """
    attention = reader.model.layers[0].self_attn
    width = LANGUAGE_DIM // LANGUAGE["num_attention_heads"]
    still = width + width // 2 - 1  # the last of the head's first half turns slowest
    words = codes.tables["word"][:-1] / CODE_NORM
    values = slice(width, width + len(words))
    with torch.no_grad():
        for name in ("q_proj", "k_proj"):
            getattr(attention, name).weight[width:] = 0
            getattr(attention, name).bias[width:] = 0
        attention.q_proj.bias[still] = 10.0
        attention.k_proj.weight[still] = 12.0 * word_direction(reader.model.embed_tokens.weight, codes)
        attention.v_proj.weight[width:] = 0
        attention.v_proj.weight[values] = words
        attention.o_proj.weight[:, values] = 0.5 * words.T


def word_direction(rows: Tensor, codes: Codes) -> Tensor:
    """(dim,) whose product is near 1 with what a cell with a word is, and near 0 with other cells and all of text.

    By ridge regression, on vectors of the length that RMSNorm gives them. `rows`: (vocabulary, dim), the embeddings.
    """
    rng = random.Random(3)
    cells = cells_of([random_scene(rng, Mix(word_share=0.9)) for _ in range(1500)])
    seen = codes.of(cells).flatten(0, 1)
    has_word = torch.from_numpy(cells.values[..., list(FACTORS).index("word")]).flatten() != NO_WORD
    kinds = ((seen[has_word], 1.0, 1.0), (seen[~has_word][:4000], 0.0, 1.0), (rows, 0.0, 4.0))
    inputs = torch.cat([weight**0.5 * part / part.square().mean(-1, keepdim=True).sqrt() for part, _, weight in kinds])
    wanted = torch.cat([torch.full((len(part),), weight**0.5 * value) for part, value, weight in kinds])
    return torch.linalg.solve(inputs.T @ inputs + torch.eye(inputs.shape[1]), inputs.T @ wanted)


def find_symbols(reader: Qwen2ForCausalLM, encoder: Encoder, codes: Codes, number: int) -> None:
    """The second head of layer `number` begins by telling a digit or letter in a text whether the pictures show it.

    For 17,000 steps the reader found the shape with a 7, but guessed whether there was one: attention always finds
    something. Here a symbol looks for its like in the frames, and at the very first token where there is none; only
    from a frame it takes a sign. Queries and keys use pairs of dimensions that RoPE hardly turns.
    """
    attention = reader.model.layers[number].self_attn
    width = LANGUAGE_DIM // LANGUAGE["num_attention_heads"]
    half, count = width // 2, len(SYMBOLS)
    slow = torch.arange(half - count // 2, half)
    symbols, first = width + torch.cat([slow, slow + half]), width + half - count // 2 - 1
    states, shown, written = _states(reader, encoder, codes, number)
    is_cell, is_first = shown >= 0, torch.zeros(shown.shape, dtype=torch.bool)
    is_first[:, 0] = True
    # one row for each symbol and one for "none", which is left out again
    asked = _readout(states, functional.one_hot(written, count + 1)[..., :count].float())
    seen = _readout(states[is_cell], functional.one_hot(shown[is_cell], count + 1)[..., :count].float())
    kind = _readout(states, (is_first.float() - 3 * (~is_cell & ~is_first).float())[..., None])
    has_symbol = _readout(states, (is_cell & (shown < count)).float()[..., None])
    sign = torch.randn(LANGUAGE_DIM, generator=torch.Generator().manual_seed(11))
    like, elsewhere = 17.0, 11.5  # logits: like² / √width = 36 for a symbol and its like, 16 for the first token
    with torch.no_grad():
        for name in ("q_proj", "k_proj"):
            getattr(attention, name).weight[width:] = 0
            getattr(attention, name).bias[width:] = 0
        attention.q_proj.weight[symbols] = like * asked
        attention.k_proj.weight[symbols] = like * seen
        attention.q_proj.bias[first] = elsewhere
        attention.k_proj.weight[first] = elsewhere * kind[0]
        attention.v_proj.weight[width:] = 0
        attention.v_proj.weight[width] = has_symbol[0]
        attention.o_proj.weight[:, width] = CODE_NORM * sign / sign.norm()


@torch.no_grad()
def _states(reader: Qwen2ForCausalLM, encoder: Encoder, codes: Codes, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """What layer `number` is given, on pictures and questions about their symbols.

    Returns states (sequences, length, dim), the symbol that each place shows (-1: no place of a frame; the last: none),
    and the symbol that is written there (the last: none), both (sequences, length).
    """
    rng = random.Random(5)
    episodes = [picture(rng, Mix(symbol_share=0.7), 6, {"is_symbol_there": 1.0, "who_has": 0.5}) for _ in range(200)]
    batch = encoder.batch(episodes, apart=True)
    cells = cells_of([scene for episode in episodes for scene in episode.frames])
    embedded = reader.model.embed_tokens(batch.ids).masked_scatter(batch.is_frame[..., None], codes.of(cells))
    layer = reader.model.layers[number]
    taken: list[Tensor] = []
    hook = layer.input_layernorm.register_forward_hook(lambda _module, _inputs, output: taken.append(output))
    reader.model(inputs_embeds=embedded, attention_mask={"full_attention": batch.mask()}, use_cache=False)
    hook.remove()
    shown = torch.full(batch.ids.shape, -1)
    shown[batch.is_frame] = torch.from_numpy(cells.values[..., list(FACTORS).index("symbol")]).flatten()
    written = torch.full(batch.ids.shape, len(SYMBOLS))
    for symbol, name in enumerate(SYMBOLS):
        for token in _single_tokens(encoder, name, f" {name}"):
            written[(batch.ids == token) & ~batch.is_frame] = symbol
    return taken[0], shown, written


def _readout(states: Tensor, wanted: Tensor) -> Tensor:
    """(outputs, dim) whose products with states (…, dim) are nearest to `wanted` (…, outputs); ridge regression."""
    inputs, targets = states.flatten(0, -2), wanted.flatten(0, -2)
    return torch.linalg.solve(inputs.T @ inputs + torch.eye(inputs.shape[1]), inputs.T @ targets).T
