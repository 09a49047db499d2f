"""Where the reader begins: words near what they name, and attention from like to like; and how it gets more layers.

A small transformer that starts from noise takes most of its training to find out that "star" in a question has to do
with the cell that shows a star. Nothing of this is fixed: all of it is trained on like every other weight.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.network import CODE_NORM, LANGUAGE, LANGUAGE_DIM, ROPE_THETA, Codes
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
from longva_demo.tiny.text import Encoder

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
