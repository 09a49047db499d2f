"""V-NIAH on small haystacks: cells, both scores against a full forward pass, resuming, and invalid input."""

import doctest
import errno
import importlib
import json
import resource
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longva_demo import result_file
from longva_demo.chat import ChatSession, LocalEngine, Progress, Stage
from longva_demo.chat.prefix_cache import CachedPrefix, PrefixCache
from longva_demo.cli.main import main
from longva_demo.errors import BudgetError, DemoError
from longva_demo.model import LongVAConfig, load
from longva_demo.niah import (
    Cell,
    Grid,
    Haystack,
    Result,
    ResultFile,
    Summary,
    drawn_frames,
    drawn_needles,
    run,
)
from longva_demo.niah.haystack import encode
from longva_demo.niah.run import Pace
from longva_demo.settings import Settings

pytestmark = pytest.mark.slow

GRID = Grid((5, 12), (0.0, 0.5, 1.0))
TEST = {"test": "V-NIAH", "model": "m"}


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("tiny"), Settings())


@pytest.fixture(scope="module")
def haystack(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Haystack:
    made = Haystack(engine, 12, tmp_path_factory.mktemp("haystack"))
    assert list(made.fill(drawn_frames(12))) == [Progress(Stage.ENCODING, 12, 12)]
    return made


def results(events: Iterator[Progress | Result]) -> list[Result]:
    return [event for event in events if isinstance(event, Result)]


def test_the_published_grid() -> None:
    grid = Grid.parse()
    assert (grid.frames[0], grid.frames[-1], len(grid.frames)) == (200, 3000, 15)
    assert grid.depths == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert len(grid.cells(5)) == 450
    assert [Cell(200, depth, 0).position for depth in grid.depths] == [0, 40, 80, 120, 160, 200]


def test_doctests() -> None:
    for name in ("grid", "hiding", "run"):
        tested = doctest.testmod(importlib.import_module(f"longva_demo.niah.{name}"))
        assert tested.attempted > 0
        assert tested.failed == 0


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:9:0", "1:2:3:4", "9,5", "0,5", "nan", "9:1:1", "1:99999999:1"])
def test_invalid_grids(text: str) -> None:
    with pytest.raises(DemoError) as caught:
        Grid.parse(text)
    assert "()" not in str(caught.value)
    with pytest.raises(DemoError, match="depths"):
        Grid.parse("5", "0,2")


def test_each_cell_equals_a_full_forward_pass(engine: LocalEngine, haystack: Haystack) -> None:
    """The shared KV cache, truncated between cells, against one forward pass of the whole prompt."""
    wrong = replace(drawn_needles(1)[0].asked[0], answer="The number is 9, surely.")
    needles = [*drawn_needles(2), replace(drawn_needles(1)[0], asked=(wrong,))]
    found = results(run(engine, haystack, needles, GRID.cells(3)))
    assert [result.cell for result in found] == GRID.cells(3)
    model, template = engine.loaded.model, engine.template
    for result in found:
        needle, position = needles[result.cell.needle], result.cell.position
        pixels = encode(engine, np.asarray(needle.picture)[None])
        frames = torch.cat([haystack[:position], pixels, haystack[position : result.cell.frames]]).flatten(0, 1)
        embed = model.get_input_embeddings()
        [asked] = needle.asked
        truth = torch.tensor(engine.processor.encode_text(asked.answer))
        question = template.question(asked.question, first=True, has_frames=True)
        with torch.inference_mode():
            parts = [embed(torch.tensor(template.header)), frames, embed(torch.tensor(question)), embed(truth)]
            logits = model(inputs_embeds=torch.cat(parts)[None]).logits[0]
        forced = bool((logits[-len(truth) - 1 : -1].argmax(-1) == truth).all())
        assert result.forced == forced, result
        assert (result.answer == asked.answer) == forced  # both are greedy
    assert sum(result.forced for result in found[::3] + found[1::3]) >= 10  # the model finds them
    assert not any(result.forced for result in found[2::3])
    assert all(result.attributed is not None for result in found)
    assert Summary.of(found).attributed == pytest.approx(1.0, abs=0.2)


def test_the_cache_is_evicted_between_cells_and_evicts_idle_ones(
    engine: LocalEngine, haystack: Haystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    needles, cells = drawn_needles(1), GRID.cells(1)
    expected = [replace(result, seconds=0) for result in results(run(engine, haystack, needles, cells))]
    assert len(engine.prefix_cache) == 0  # nothing remains
    chat = ChatSession(engine)
    idle = CachedPrefix(("video",), engine.new_cache(100_000), chat)
    engine.prefix_cache.insert(idle, chat, 10**12)
    needed = engine.meter(max(GRID.frames) + 1).kv_bytes
    total = idle.cache.num_bytes + needed  # the memory of the device

    def free(_device: object) -> int:
        return total - sum(engine.prefix_cache.num_bytes)

    monkeypatch.setattr("longva_demo.chat.budget.free_memory", free)
    assert not engine.meter(max(GRID.frames) + 1).fits
    found = []
    with closing(run(engine, haystack, needles, cells)) as events:
        for event in events:
            assert engine.prefix_cache.lookup(idle.key, chat) is None
            if isinstance(event, Result):
                assert engine.prefix_cache.idle_bytes > needed  # counted
                assert engine.prefix_cache.evict_oldest()  # as for a chat
                found.append(replace(event, seconds=0))
            else:
                assert engine.prefix_cache.idle_bytes == 0  # in use
    assert found == expected


def test_a_haystack_may_exceed_the_context_but_not_the_memory(
    engine: LocalEngine, haystack: Haystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    needles, cells = drawn_needles(1), GRID.cells(1)
    expected = [replace(result, seconds=0) for result in results(run(engine, haystack, needles, cells, False))]
    monkeypatch.setattr(LongVAConfig, "context_length", 50)
    assert not engine.meter(max(GRID.frames)).fits
    found = results(run(engine, haystack, needles, cells, False))
    assert [replace(result, seconds=0) for result in found] == expected
    monkeypatch.setattr("longva_demo.chat.budget.free_memory", lambda _: 100_000)
    with pytest.raises(BudgetError, match=r"13 frames need 117 tokens and .* GB of memory, but only"):
        list(run(engine, haystack, needles, cells, False))


def test_the_cache_is_offloaded_between_cells(
    engine: LocalEngine, haystack: Haystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    needles, cells = drawn_needles(1), GRID.cells(1)
    expected = [replace(result, seconds=0) for result in results(run(engine, haystack, needles, cells))]
    monkeypatch.setattr(engine, "prefix_cache", PrefixCache(free_host_bytes=lambda: 10**9))
    found = []
    for event in run(engine, haystack, needles, cells):
        if isinstance(event, Result):
            assert engine.prefix_cache.evict_oldest()
            assert engine.prefix_cache.num_bytes[0] == 0
            found.append(replace(event, seconds=0))
    assert found == expected


def made(number: int) -> Result:
    return Result(Cell(5, 0.5, number), "The number is 1.", number > 0, True, None, 0.25)


def test_a_killed_run_loses_at_most_its_last_line(tmp_path: Path) -> None:
    saved = ResultFile(tmp_path / "out", TEST)
    saved.add(made(0))
    saved.add(made(1))
    whole = saved.path.read_bytes()
    saved.path.write_bytes(whole[:-7])
    again = ResultFile(tmp_path / "out", TEST)
    assert again.results == [made(0)]
    again.add(made(1))
    assert again.path.read_bytes() == whole
    assert Summary.of(again.results).forced == 0.5


def test_a_full_disk_keeps_earlier_results(tmp_path: Path) -> None:
    """/dev/full behaves like a full disk."""
    saved = ResultFile(tmp_path, TEST)
    saved.add(made(0))
    whole = saved.path.read_bytes()
    saved.path.rename(tmp_path / "before")
    saved.path.symlink_to("/dev/full")
    with pytest.raises(DemoError, match=r"cannot write .*\(No space left on device\); free some space"):
        saved.add(made(1))
    saved.path.unlink()
    (tmp_path / "before").rename(saved.path)
    assert ResultFile(tmp_path, TEST).path.read_bytes() == whole


def test_results_of_another_test_are_refused(tmp_path: Path) -> None:
    ResultFile(tmp_path, TEST).add(made(0))
    with pytest.raises(DemoError, match=r"is from a different run .*model"):
        ResultFile(tmp_path, {**TEST, "model": "other"})
    (tmp_path / "results.jsonl").write_text("nonsense\n")
    with pytest.raises(DemoError, match="damaged"):
        ResultFile(tmp_path, TEST)
    with pytest.raises(DemoError, match="cannot write"):
        ResultFile(tmp_path / "results.jsonl", TEST)


def test_the_command_resumes_and_writes_the_heat_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "niah"
    command = ["niah", "--model", "tiny", "--num-needles", "1", "--depths", "0,1", "--out", str(out)]
    assert main([*command, "--frames", "4"]) == 0
    assert "depth" in capsys.readouterr().out
    before = (out / "results.jsonl").read_text()
    assert main([*command, "--frames", "4,8", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cells"] == 4
    assert facts["published"]["forced"] == 0.909
    assert (out / "results.jsonl").read_text().startswith(before)
    assert Image.open(out / "heatmap.png").size[0] > 400
    assert (out / "heatmap.svg").read_text().startswith("<?xml")


def test_the_time_left_is_printed_every_few_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def paced(*arguments: Any, **_: object) -> Iterator[Result]:
        _engine, _haystack, _needles, cells, _with_attribution = arguments
        for cell in cells:
            yield Result(cell, "", True, True, None, seconds=cell.work * 4.0)

    monkeypatch.setattr("longva_demo.niah.command.run", paced)
    command = ["niah", "--model", "tiny", "--num-needles", "8", "--frames", "4", "--depths", "0,0.5,1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    printed = [line for line in capsys.readouterr().err.splitlines() if "cell" in line]
    # 8 cells at each depth, of work 20, 22 and 24.
    assert printed == [
        "about 22 min left; cell 10 of 24",
        "about 6 min left; cell 20 of 24",
        "about 0 s left; cell 24 of 24",
    ]


def test_the_time_left_depends_on_the_work_left() -> None:
    pace = Pace()
    cells = [Cell(100, 1.0, 0), Cell(100, 0.5, 0), Cell(100, 0.0, 0)]  # 20, 70 and 120 of work
    assert pace.seconds(cells) is None
    pace.add(Result(cells[0], "", True, True, None, seconds=10.0))
    assert pace.seconds(cells[1:]) == pytest.approx(95.0)
    assert pace.seconds([]) == 0


def test_a_full_disk_is_one_line_about_the_first_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = ["niah", "--model", "tiny", "--num-needles", "1", "--frames", "4", "--depths", "0,1"]
    monkeypatch.setattr("longva_demo.niah.command.draw_heat_map", full)
    assert main([*command, "--out", str(tmp_path / "one")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "cannot write the heat map to" in last
    assert last.endswith("(No space left on device); free some space, then run the same command again to resume")

    append, written = result_file.ResultFile._append, []

    def fills(self: result_file.ResultFile, values: dict[str, object]) -> None:
        written.append(values)
        if len(written) == 3:
            full()
        append(self, values)

    monkeypatch.setattr(result_file.ResultFile, "_append", fills)
    assert main([*command, "--out", str(tmp_path / "two")]) == 2
    assert "results.jsonl (No space left on device)" in capsys.readouterr().err.splitlines()[-1]


def test_a_haystack_too_large_for_the_disk_is_one_line(engine: LocalEngine, tmp_path: Path) -> None:
    """Files are limited to 4 MB. Without the check, mapping fails or the process is killed when it writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        with pytest.raises(DemoError, match=r"the haystack needs [\d,]+ MB in .*\(File too large\); free some space"):
            next(Haystack(engine, 100_000, tmp_path).fill(drawn_frames(2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_results_on_other_pixels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "niah",
        "--model",
        "tiny",
        "--num-needles",
        "1",
        "--frames",
        "4",
        "--depths",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert main(command) == 0
    capsys.readouterr()
    results = tmp_path / "results.jsonl"
    assert "drawn, version 2, seed 0" in results.read_text()
    results.write_text(results.read_text().replace("drawn, version 2, seed 0", "drawn, seed 0"))
    assert main(command) == 2
    assert "is from a different run (differs in haystack)" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--num-needles", "0"], ["--frames", "x"], ["--depths", "2"], ["missing.mp4"]])
def test_an_invalid_argument_is_one_line(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["niah", "--model", "tiny", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
