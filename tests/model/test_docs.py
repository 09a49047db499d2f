"""The docstrings' worked examples are correct."""

import doctest
from types import ModuleType

import pytest

from longva_demo.model import choice, config, int8, processor, tower


@pytest.mark.parametrize("module", [choice, config, int8, processor, tower], ids=lambda module: module.__name__)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
