"""The code blocks of docs/transformers.md run, with the built-in model in place of LongVA-7B."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longva_demo.model.hub import TINY_FOLDER

ROOT = Path(__file__).parents[2]


def test_the_blocks_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "examples" / "needle.mp4", tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "transformers.md").read_text("utf-8").replace("lmms-lab/LongVA-7B-DPO", str(TINY_FOLDER))
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names = {"picture": Image.fromarray(np.full((84, 84, 3), 128, np.uint8))}
    for block in blocks:
        if "peft" not in block or find_spec("peft"):
            exec(block, names)
    first, *answers = capsys.readouterr().out.splitlines()
    assert re.search(r"\d", first), "the digit of the clip"
    assert len(answers) == 2
