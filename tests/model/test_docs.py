"""The docstrings' worked examples are correct."""

import doctest
from types import ModuleType

import pytest

from longva_demo.model import choice, config, int8, longva, pixels, prompt, tower, video_processing

MODULES = [choice, config, int8, longva, pixels, prompt, tower, video_processing]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
