"""Regression tests from fuzzing: each file in tests/data/damaged yields its frames or picture, or a one-line error."""

import re
from pathlib import Path

import pytest

from longva_demo.errors import VideoError
from longva_demo.video import DecodeLimits, decode_frames, plan_frames, probe
from longva_demo.video.still import is_picture, open_image

FOLDER = Path(__file__).parents[1] / "data" / "damaged"
LIMITS = DecodeLimits(timeout_seconds=60, stall_seconds=20, memory_bytes=1024**3, max_frame_pixels=4096 * 4096)

# File: how many of 16 planned frames are decoded, and a note.
DECODED = {
    "breaks-off.ts": (1, "The file is truncated or damaged after packet 1"),  # the demuxer gives up
    "endless.flv": (6, r"6 frames .* could only be partly decoded"),  # implausible timestamps
    "late-track.mp4": (
        16,
        r"16 frames \(at 0\.00 to 1\.16 s\) could only be partly decoded",
    ),  # its only key frame is damaged
    "many-lost.mkv": (1, r"a duration of 2\.0 s, but the video ends at 0\.0 s"),  # only the key frame is left
    "one-frame.avi": (1, "The file is truncated in the middle of a frame."),  # cut in its first frame
    "one-lost.mp4": (15, r"1 frame \(at 1\.96 s\) could not be decoded"),  # AV1 whose last packet is zeroed
}
REJECTED = {
    "no-index.mp4": "is an MP4 without a readable index",  # cut in the first box
    "no-pictures.webm": "has a video track without frames",  # cut after the header
    "no-track.mp4": "has no video track",  # a size in the index is wrong
    "no-video.avi": "is not a readable video",  # cut in the header
    "nothing-decodes.mpg": "no frame of nothing-decodes.mpg can be decoded",  # AV1, its header overwritten
    "sound-only.ts": "has audio but no video track",  # the table lists the video track as audio
}
# Pictures that cannot be opened.
UNREADABLE_PICTURES = (
    "colours-lost.avif",  # bytes of its data overwritten
    "empty-item.avif",  # its index names no picture
)


def test_each_file_has_an_expectation() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*DECODED, *REJECTED, *UNREADABLE_PICTURES, "README.md"}


@pytest.mark.parametrize("name", DECODED)
def test_decodable_frames_are_returned(name: str) -> None:
    info = probe(FOLDER / name, LIMITS)
    batches = list(decode_frames(info.path, plan_frames(info, 16), info=info, limits=LIMITS))
    count, note = DECODED[name]
    assert sum(len(batch) for batch in batches) == count
    notes = [*info.notes, *(note for batch in batches for note in batch.notes)]
    assert any(re.search(note, line) for line in notes), notes


@pytest.mark.parametrize("name", REJECTED)
def test_the_rest_is_rejected_in_one_line(name: str) -> None:
    with pytest.raises(VideoError) as caught:
        probe(FOLDER / name, LIMITS)
    line = str(caught.value)
    assert REJECTED[name] in line
    assert line.startswith(("no frame of ", name))
    assert "; " in line
    assert "\n" not in line


@pytest.mark.parametrize("name", UNREADABLE_PICTURES)
def test_a_damaged_picture_is_rejected_as_a_picture(name: str) -> None:
    assert is_picture(FOLDER / name)
    with pytest.raises(VideoError, match=f"^{name} cannot be read as a picture; upload a PNG or JPEG file$"):
        open_image(FOLDER / name)
