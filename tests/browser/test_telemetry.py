"""What an operator sees of a visit: /healthz, /metrics, and the same metrics in `doctor`."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from longva_demo.cli.doctor import server_metrics
from longva_demo.cli.main import main
from tests.support.browser import Visit
from tests.support.clips import write_clip


def test_the_server_reports_its_state(visit: Visit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = visit.address
    with urlopen(f"{address}/healthz") as answer:
        assert json.load(answer)["status"] == "ok"
    visit.upload(write_clip(tmp_path / "own.mp4", 3))  # the prefixes of other tests are cached
    visit.wait_for_frames()
    before = server_metrics(address)
    assert before is not None
    assert before["pages"] >= 1
    visit.ask("What colour is the circle?")
    after = server_metrics(address)
    assert after is not None
    assert after["questions"] == before["questions"] + 1
    assert after["frames_prefilled"] == before["frames_prefilled"] + len(visit.frame_seconds)
    assert after["outcomes"]["answered"] == before["outcomes"].get("answered", 0) + 1
    assert after["kv_bytes"] > before["kv_bytes"]
    assert server_metrics("http://127.0.0.1:1") is None
    capsys.readouterr()
    assert main(["doctor", "--port", address.rpartition(":")[2]]) == 0
    report = capsys.readouterr().out
    assert "open pages; questions: 0 running, 0 queued" in report
    assert f"{after['outcomes']['answered']:.0f} answered" in report
    assert main(["doctor", "--port", "1"]) == 0
    assert "none at http://127.0.0.1:1; use --host and --port for another address" in capsys.readouterr().out
