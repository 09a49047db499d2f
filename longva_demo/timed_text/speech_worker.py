"""Recognise speech, in the worker: the sound in pieces, so that memory stays flat however long the file is."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from longva_demo.parallel import available_cpus
from longva_demo.timed_text.line import clean_text
from longva_demo.video._ffmpeg.sound import SAMPLE_RATE, Sound, read_sound
from longva_demo.video._worker.main import ParentChannel
from longva_demo.video._worker.wire import Message
from longva_demo.video.limits import DecodeLimits

PIECE_SECONDS = 180.0
MAX_THREADS = 4
# A piece ends at the quietest moment of its last seconds, so that no word is cut.
LAST_SECONDS, QUIET_SECONDS = 20.0, 0.3
MAX_GAP_SECONDS = 30.0  # in the timestamps, which becomes silence; after a longer one a new piece starts
MIN_SHIFT_SECONDS = 0.1  # timestamps that differ by less from the number of samples are rounded
# Where a line of speech ends: a pause, the end of a sentence, or as much as one reads at a glance.
PAUSE_SECONDS, MAX_LINE_SECONDS = 0.8, 7.0
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")


def run(request: Message, _payload: bytes, _limits: DecodeLimits, parent: ParentChannel) -> None:
    """Send each line as it is recognised, and how far the sound was read."""
    range_ = request["start"], request["end"]
    sound = read_sound(Path(request["path"]), request["zero_seconds"], *range_, parent.heartbeat)
    transcriber = None
    for piece in pieces(sound):
        transcriber = transcriber or Transcriber(request["model"])
        for lines in transcriber.lines(piece):
            parent.send({"kind": "speech", "lines": lines, "done": lines[-1][1]})
        parent.send({"kind": "speech", "lines": [], "done": piece.seconds + len(piece.samples) / SAMPLE_RATE})
    parent.send({"kind": "done", "has_sound": transcriber is not None})


class Transcriber:
    """A Whisper model. The language is that of the first piece with speech."""

    def __init__(self, folder: str) -> None:
        # ctranslate2 imports torch if it is there, only to convert models: seconds, and hundreds of MB.
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
        from faster_whisper import WhisperModel

        threads = min(available_cpus(), MAX_THREADS)
        self._model = WhisperModel(
            folder, device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )
        self._language: str | None = None

    def lines(self, piece: Sound) -> Iterator[list[tuple[float, float, str]]]:
        """The lines of each of Whisper's segments, as (start, end, text)."""
        segments, info = self._model.transcribe(
            piece.samples,
            language=self._language,
            beam_size=1,
            vad_filter=True,
            word_timestamps=True,
            condition_on_previous_text=False,  # one wrong sentence would be repeated
        )
        for segment in segments:
            self._language = info.language
            if lines := list(split(segment.words or [], piece.seconds)):
                yield lines


def split(words: list[Any], offset: float) -> Iterator[tuple[float, float, str]]:
    """Lines of faster-whisper's words, which have `start`, `end` and `word`."""
    line: list[Any] = []
    for word in words:
        if line and is_complete(line, word):
            yield from line_of(line, offset)
            line = []
        line.append(word)
    yield from line_of(line, offset)


def is_complete(line: list[Any], following: Any) -> bool:
    is_long = following.end - line[0].start > MAX_LINE_SECONDS
    return is_long or following.start - line[-1].end > PAUSE_SECONDS or line[-1].word.endswith(SENTENCE_ENDS)


def line_of(words: list[Any], offset: float) -> Iterator[tuple[float, float, str]]:
    text = clean_text("".join(word.word for word in words))
    if text:
        start = max(0.0, offset + words[0].start)
        yield start, max(start, offset + words[-1].end), text


def pieces(sounds: Iterator[Sound]) -> Iterator[Sound]:
    """Join sounds to pieces of at most PIECE_SECONDS, which end in silence if there is some."""
    parts: list[np.ndarray] = []
    start = length = 0  # of the piece, in samples
    for sound in sounds:
        position, samples = round(sound.seconds * SAMPLE_RATE), sound.samples
        gap = position - start - length
        if parts and gap > MAX_GAP_SECONDS * SAMPLE_RATE:
            yield piece_of(parts, start)
            parts = []
        if not parts:
            start, length = position, 0
        elif gap > MIN_SHIFT_SECONDS * SAMPLE_RATE:
            samples = np.concatenate([np.zeros(gap, dtype=np.float32), samples])
        elif gap < -MIN_SHIFT_SECONDS * SAMPLE_RATE:
            samples = samples[-gap:]  # what was heard already
        parts.append(samples)
        length += len(samples)
        if length >= PIECE_SECONDS * SAMPLE_RATE:
            joined = np.concatenate(parts)
            cut = quietest(joined)
            yield piece_of([joined[:cut]], start)
            parts, start, length = [joined[cut:].copy()], start + cut, length - cut
    if length:
        yield piece_of(parts, start)


def piece_of(parts: list[np.ndarray], start: int) -> Sound:
    return Sound(start / SAMPLE_RATE, np.concatenate(parts))


def quietest(samples: np.ndarray) -> int:
    """The sample in the middle of the quietest moment of the last seconds."""
    step = round(QUIET_SECONDS * SAMPLE_RATE / 4)
    first = max(0, len(samples) - round(LAST_SECONDS * SAMPLE_RATE))
    num_steps = (len(samples) - first) // step
    power = (samples[first : first + num_steps * step].reshape(num_steps, step) ** 2).mean(axis=1)  # (steps,)
    smooth = np.convolve(power, np.ones(4), mode="valid")
    return first + (int(smooth.argmin()) + 2) * step
