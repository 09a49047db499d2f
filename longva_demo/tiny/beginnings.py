"""Where the reader begins: words near what they name, and attention from like to like.

A small transformer that starts from noise takes most of its training to find out that "star" in a question has to do
with the cell that shows a star. Nothing of this is fixed: all of it is trained on like every other weight.
"""

import torch
from torch import nn
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.network import CODE_NORM, Codes
from longva_demo.tiny.questions import plural
from longva_demo.tiny.scenes import BACKGROUND_NAMES, COLOUR_NAMES, SHAPES, SYMBOLS, WORDS
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
