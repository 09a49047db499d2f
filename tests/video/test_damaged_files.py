"""The regression set of the fuzzing: each file in tests/data/damaged gives its frames or picture, or its one line."""

import re
from pathlib import Path

import pytest

from bench.fuzz import LIMITS
from longva_demo.errors import VideoError
from longva_demo.video import decode_frames, plan_frames, probe
from longva_demo.video.still import is_picture, open_image

FOLDER = Path(__file__).parents[1] / "data" / "damaged"

# File: how many of 16 planned frames come, and what is noted.
DECODED = {
    "breaks-off.ts": (1, "The file breaks off or is damaged after 1 packets"),  # the demuxer gives up
    "endless.flv": (6, r"6 frames .* could be decoded only in part"),  # wild time stamps
    "late-track.mp4": (16, r"16 frames \(at 0\.00 to 1\.16 s\) could be decoded only in part"),  # its one key frame
    "many-lost.mkv": (1, r"it is 2\.0 s long, but its pictures end at 0\.0 s"),  # nothing but the key frame
    "one-frame.avi": (1, "The file breaks off in the middle of a frame."),  # cut off in its first picture
    "one-lost.mp4": (15, r"1 frame \(at 1\.96 s\) could not be decoded"),  # AV1 whose last packet is zeroed
}
REFUSED = {
    "no-index.mp4": "is an MP4 whose index cannot be read",  # cut off in the first box
    "no-pictures.webm": "has a picture track without pictures",  # cut off behind the header
    "no-track.mp4": "has no picture track",  # a size in the index is wrong
    "no-video.avi": "is not a video that can be read",  # cut off in the header
    "nothing-decodes.mpg": "no frame of nothing-decodes.mpg can be decoded",  # AV1, its header overwritten
    "sound-only.ts": "has sound but no picture track",  # the table names the picture track as sound
}
# Pictures that cannot be opened.
LOST = (
    "colours-lost.avif",  # bytes of its data overwritten
    "empty-item.avif",  # its index names no picture
)


def test_each_file_has_its_line() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*DECODED, *REFUSED, *LOST, "README.md"}


@pytest.mark.parametrize("name", DECODED)
def test_what_can_be_had_is_given(name: str) -> None:
    info = probe(FOLDER / name, LIMITS)
    batches = list(decode_frames(info.path, plan_frames(info, 16), info=info, limits=LIMITS))
    count, note = DECODED[name]
    assert sum(len(batch) for batch in batches) == count
    notes = [*info.notes, *(note for batch in batches for note in batch.notes)]
    assert any(re.search(note, line) for line in notes), notes


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(VideoError) as caught:
        probe(FOLDER / name, LIMITS)
    line = str(caught.value)
    assert REFUSED[name] in line
    assert line.startswith(("no frame of ", name))
    assert "; " in line
    assert "\n" not in line


@pytest.mark.parametrize("name", LOST)
def test_a_damaged_picture_is_refused_as_one(name: str) -> None:
    assert is_picture(FOLDER / name)
    with pytest.raises(VideoError, match=f"^{name} cannot be read as a picture; upload a PNG or JPEG file$"):
        open_image(FOLDER / name)
