"""Results of long runs: a killed run loses at most its last line, and another run's file is refused."""

from pathlib import Path

import pytest

from longva_demo.errors import DemoError
from longva_demo.result_file import ResultFile, read_rows

HEAD = {"test": "t", "model": "m"}


def test_a_killed_run_loses_at_most_its_last_line(tmp_path: Path) -> None:
    saved = ResultFile(tmp_path / "out" / "results.jsonl", HEAD)
    saved.add({"a": 1})
    saved.add({"a": 2})
    whole = saved.path.read_bytes()
    saved.path.write_bytes(whole[:-3])
    assert read_rows(saved.path, HEAD) == [{"a": 1}]
    assert saved.path.read_bytes() == whole[:-3], "it may be the file of a running process"
    again = ResultFile(saved.path, HEAD)
    assert again.rows == [{"a": 1}]
    again.add({"a": 2})
    assert again.path.read_bytes() == whole


def test_a_run_killed_before_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"test":')
    ResultFile(tmp_path / "results.jsonl", HEAD).add({"a": 1})
    assert ResultFile(tmp_path / "results.jsonl", HEAD).rows == [{"a": 1}]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ResultFile(path, HEAD)
    with pytest.raises(DemoError, match=r"is from a different run \(differs in model, seed\); choose another --out"):
        ResultFile(path, {"test": "t", "model": "other", "seed": 1})
    path.write_text("nonsense\n")
    with pytest.raises(DemoError, match="is damaged"):
        ResultFile(path, HEAD)
    with pytest.raises(DemoError, match="cannot write"):
        ResultFile(path / "below a file", HEAD)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """/dev/full behaves like a full disk."""
    saved = ResultFile(tmp_path / "results.jsonl", HEAD)
    saved.path.unlink()
    saved.path.symlink_to("/dev/full")
    with pytest.raises(DemoError, match=r"cannot write .*\(No space left on device\); free some space"):
        saved.add({"a": 1})
