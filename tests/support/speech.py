"""Speech for tests and benchmarks: sentences spoken by espeak-ng, with the time of each word, and noise."""

import ctypes
import ctypes.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16_000
WORDS_PER_MINUTE = 150
# Of espeak-ng's speak_lib.h
RETRIEVAL, WORD_EVENT, END_EVENT, UTF8 = 1, 1, 0, 1


class Event(ctypes.Structure):
    """`espeak_EVENT`; `audio_position` is in ms."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@dataclass(frozen=True)
class Spoken:
    """A sentence as sound, float32 (samples,) at RATE, and the second at which each of its words begins.

    espeak-ng joins some words, such as "in the": the second one's time is not known (NaN).
    """

    words: tuple[str, ...]
    samples: np.ndarray
    word_seconds: tuple[float, ...]


def speak(text: str, voice: str = "en-us") -> Spoken:
    """Let espeak-ng say a text. scripts/install_espeak.sh installs it."""
    library = ctypes.CDLL(ctypes.util.find_library("espeak-ng"))
    pieces: list[np.ndarray] = []
    starts: dict[int, float] = {}  # by the place of the word in the text

    @CALLBACK
    def collect(wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[Event]") -> int:
        if wave and count:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        position = 0
        while events[position].type != END_EVENT:
            if events[position].type == WORD_EVENT:
                starts[events[position].text_position - 1] = events[position].audio_position / 1000
            position += 1
        return 0

    rate = library.espeak_Initialize(RETRIEVAL, 200, None, 0)
    library.espeak_SetSynthCallback(collect)
    library.espeak_SetVoiceByName(voice.encode())
    library.espeak_SetParameter(1, WORDS_PER_MINUTE, 0)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, UTF8, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(pieces).astype(np.float32) / 32768
    found = [(match.group(), starts.get(match.start(), math.nan)) for match in re.finditer(r"\S+", text)]
    return Spoken(tuple(word for word, _ in found), resample(wave, rate), tuple(second for _, second in found))


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """float32 (samples,) at RATE."""
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray().reshape(-1) for part in parts])


def music(num_samples: int, seed: int) -> np.ndarray:
    """Noise like music, float32 (samples,) of power 1: chords that change every half second, and a beat."""
    random = np.random.default_rng(seed)
    seconds = np.arange(num_samples) / RATE
    sound = np.zeros(num_samples)
    for start in np.arange(0, num_samples / RATE, 0.5):
        part = (seconds >= start) & (seconds < start + 0.5)
        time = seconds[part] - start
        for note in random.choice([110, 131, 165, 196, 220, 262, 330, 392], 3, replace=False):
            sound[part] += np.exp(-3 * time) * sum(np.sin(2 * np.pi * note * k * time) / k for k in (1, 2, 3))
        sound[part] += 2 * np.exp(-60 * time) * random.standard_normal(len(time))
    return (sound / np.sqrt((sound**2).mean())).astype(np.float32)


def with_music(sound: np.ndarray, decibels: float, seed: int) -> np.ndarray:
    """Speech over music that is weaker by so many dB than the speech is where it is loud."""
    loud = sound[np.abs(sound) > 0.01]
    power = float((loud**2).mean()) / 10 ** (decibels / 10)
    mixed = sound + np.sqrt(power) * music(len(sound), seed)
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def sequence(sentences: Sequence[Spoken], pause_seconds: float) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Sentences one after the other: the sound, and each word with the second at which it begins."""
    parts, words, position = [], [], 0
    silence = np.zeros(round(pause_seconds * RATE), dtype=np.float32)
    for spoken in sentences:
        parts += [silence, spoken.samples]
        position += len(silence)
        named = zip(spoken.words, spoken.word_seconds, strict=True)
        words += [(word, position / RATE + seconds) for word, seconds in named]
        position += len(spoken.samples)
    return np.concatenate([*parts, silence]), words


def write_sound(
    path: Path,
    sound: np.ndarray,
    codec: str = "aac",
    video_seconds: float | None = None,
    picture_shown: np.ndarray | None = None,
) -> Path:
    """A file with this sound, and a picture of `video_seconds` (None: as long as the sound, 0: no picture).

    The picture is `picture_shown`, uint8 (height, width, 3), or a small grey one.
    """
    seconds = len(sound) / RATE if video_seconds is None else video_seconds
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=2, options={"preset": "ultrafast"}) if seconds else None
        if picture is not None:
            shown = np.full((48, 64, 3), 128, np.uint8) if picture_shown is None else picture_shown
            picture.height, picture.width = shown.shape[:2]
            picture.pix_fmt = "yuv420p"
        is_opus = codec == "libopus"
        stream = output.add_stream(codec, rate=48_000 if is_opus else RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 24_000 if is_opus else 96_000
        if picture is not None:
            for number in range(max(1, round(2 * seconds))):
                frame = av.VideoFrame.from_ndarray(shown, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 2)
                output.mux(picture.encode(frame))
            output.mux(picture.encode(None))
        write_samples(output, stream, sound)
    return path


def write_samples(output: av.container.OutputContainer, stream: av.AudioStream, sound: np.ndarray) -> None:
    for start in range(0, len(sound), RATE):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + RATE], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
