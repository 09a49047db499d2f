"""Checkpoints of the stages: saving and loading them, combining their weights, and starting from an exported model."""

import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.tiny.export import split_checkpoint
from tools.tiny.network import VisionModel
from tools.tiny.stages import AVERAGED, INTERPOLATED, INTERPOLATION, LANGUAGE_STAGES, STAGES, VISION_STAGES
from tools.tiny.text import train_tokenizer
from tools.tiny.train_vision import save

Weights = dict[str, Tensor]


def load_vision(folder: Path, name: str) -> VisionModel:
    vision = VisionModel()
    vision.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True)["vision"])
    return vision


def vision_after(folder: Path, name: str) -> VisionModel:
    """The combined weights of the vision stages up to `name`: INTERPOLATION of the way to each in turn."""
    names = list(VISION_STAGES)
    first, *later = names[: names.index(name) + 1]
    vision = load_vision(folder, first)
    with torch.no_grad():
        for stage in later:
            for ours, theirs in zip(vision.parameters(), load_vision(folder, stage).parameters(), strict=True):
                ours.lerp_(theirs, INTERPOLATION)
    return vision


def final_vision(folder: Path) -> VisionModel:
    """The vision model that is exported."""
    return vision_after(folder, list(VISION_STAGES)[-1])


def load_language_model(folder: Path, name: str) -> Weights:
    weights: Weights = torch.load(folder / f"{name}.pt", weights_only=True)["language_model"]
    return weights


def interpolated_up_to(name: str) -> list[str]:
    """The stages whose weights a stage after `name` starts from.

    >>> interpolated_up_to("language-14-motion")
    ['language-14-motion']
    >>> interpolated_up_to("language-16-references")
    ['language-15-bystanders', 'language-16-references']
    """
    if name not in INTERPOLATED:
        return [name]
    first = LANGUAGE_STAGES[INTERPOLATED[0]].after
    assert first is not None
    return [first, *INTERPOLATED[: INTERPOLATED.index(name) + 1]]


def language_model_after(folder: Path, name: str) -> Weights:
    """The combined weights of the language-model stages up to `name`."""
    first, *later = interpolated_up_to(name)
    weights = load_language_model(folder, first)
    for stage in later:
        theirs = load_language_model(folder, stage)
        weights = {key: torch.lerp(weight, theirs[key], INTERPOLATION) for key, weight in weights.items()}
    return weights


def final_language_model(folder: Path) -> Weights:
    """The language model that is exported."""
    one, two = (load_language_model(folder, name) for name in AVERAGED)
    return {key: torch.lerp(weight, two[key], 0.5) for key, weight in one.items()}


def get_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in the folder. If there is none, train it; training always gives the same one."""
    path = folder / "tokenizer.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def start_from_export(checkpoint: Path, folder: Path, name: str) -> None:
    """Write the parts of an exported model as the checkpoints that stage `name` starts from, and its tokenizer."""
    vision, language_model = split_checkpoint(checkpoint)
    after = STAGES[name].after
    assert after is not None
    names = list(VISION_STAGES)
    for vision_name in names[: names.index(name)] if name in names else names:
        save(folder / f"{vision_name}.pt", {"vision": vision})
    if name not in names:
        for language_name in interpolated_up_to(after):
            save(folder / f"{language_name}.pt", {"language_model": language_model})
    shutil.copyfile(checkpoint / "tokenizer.json", folder / "tokenizer.json")
