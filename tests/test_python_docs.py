"""The examples of docs/python-api.md run, in their order, with the built-in model."""

import ast
import asyncio
import inspect
import re
import shutil
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from longva_demo.page.components.gallery import EXAMPLES_FOLDER

PAGE = Path(__file__).parents[1] / "docs" / "python-api.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUBTITLES = "1\n00:00:01,000 --> 00:00:02,000\nA red car turns left.\n\n2\n00:00:03,000 --> 00:00:04,000\nIt stops.\n"


def code_of(match: re.Match[str]) -> CodeType:
    """An example, with the line numbers that it has in the page. Unlike in a module, it may use `await`."""
    first = PAGE.read_text("utf-8").count("\n", 0, match.start(1))
    return compile("\n" * first + match[1], str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def run(code: CodeType, names: dict[str, Any]) -> None:
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, names)
        return

    async def wait() -> None:
        await eval(code, names)

    asyncio.run(wait())


@pytest.mark.slow
def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They share their names, as in an interactive session. Each prints something."""
    shutil.copy(EXAMPLES_FOLDER / "shapes.mp4", tmp_path / "clip.mp4")
    (tmp_path / "clip.srt").write_text(SUBTITLES, "utf-8")
    monkeypatch.chdir(tmp_path)
    examples = [code_of(match) for match in EXAMPLE.finditer(PAGE.read_text("utf-8"))]
    assert len(examples) >= 8
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for code in examples:
        run(code, names)
        printed.append(capsys.readouterr().out)
    assert all(printed), printed
    assert "A red car turns left." in "".join(printed)
