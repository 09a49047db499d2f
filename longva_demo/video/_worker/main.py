"""What a worker does, once the fork server has started it.

It reads one request, answers with messages on standard output (wire.py), writes pixels into the ring of shared memory,
and exits.
"""

import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from longva_demo.errors import VideoError
from longva_demo.video._ffmpeg.notes import frames_at
from longva_demo.video._worker.confine import die_with_parent, limit_resources, memory_is_short
from longva_demo.video._worker.process import CONVERT, memory_error
from longva_demo.video._worker.shared import Ring
from longva_demo.video._worker.wire import Message, encode, pack_arrays, read_request, unpack_arrays
from longva_demo.video.limits import DecodeLimits

HEARTBEAT_SECONDS = 0.5


class ParentChannel:
    """Sends messages to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._last = time.monotonic()

    def send(self, message: Message, payload: bytes = b"") -> None:
        self._out.write(encode(message, payload))
        self._out.flush()
        self._last = time.monotonic()

    def heartbeat(self) -> None:
        if time.monotonic() - self._last > HEARTBEAT_SECONDS:
            self.send({"kind": "heartbeat"})


class FrameTarget(Protocol):
    """Where decoded frames go."""

    def next_buffer(self) -> np.ndarray:
        """The memory for the next frame, uint8 (height, width, 3)."""
        ...


class BatchWriter:
    """Fills slots of the ring with frames and sends each full slot."""

    def __init__(self, parent: ParentChannel, request: Message, ring: Ring, release: int, notes: list[str]) -> None:
        self._parent = parent
        self._shape = (request["slot_frames"], request["height"], request["width"], 3)
        self._ring = ring
        self._release = release
        self._free = list(range(request["num_slots"]))
        self._slot = -1
        self._indices: list[int] = []
        self._seconds: list[float] = []
        self._notes = notes
        self._sent_notes: set[str] = set()

    def next_buffer(self) -> np.ndarray:
        """The memory for the next frame, uint8 (height, width, 3). Waits for a free slot."""
        if self._slot < 0:
            while not self._free:
                released = os.read(self._release, 64)
                if not released:
                    sys.exit(0)  # the parent closed the pipe
                self._free.extend(released)
            self._slot = self._free.pop(0)
        pixels = np.frombuffer(self._ring.slot(self._slot), dtype=np.uint8)
        return pixels.reshape(self._shape)[len(self._indices)]

    def add(self, index: int, seconds: float) -> None:
        """Record that the memory of next_buffer() now holds this frame."""
        self._indices.append(index)
        self._seconds.append(seconds)
        if len(self._indices) == self._shape[0]:
            self.flush("batch")

    def flush(self, kind: str) -> None:
        message = {"kind": kind, "slot": self._slot, "indices": self._indices, "seconds": self._seconds}
        new_notes = [note for note in dict.fromkeys(self._notes) if note not in self._sent_notes]
        self._sent_notes.update(new_notes)
        self._parent.send({**message, "notes": new_notes})
        self._indices, self._seconds, self._slot = [], [], -1
        self._notes.clear()

    def finish(self) -> None:
        if self._indices:
            self.flush("batch")
        self.flush("done")


def run_probe(request: Message, limits: DecodeLimits, parent: ParentChannel) -> None:
    from longva_demo.video._ffmpeg.indexing import index_packets
    from longva_demo.video.magic import is_animation

    path = Path(request["path"])
    try:
        if request["decoder"] == "pyav" and is_animation(path):
            from longva_demo.video._ffmpeg.animation import index_animation

            info, notes, index, seconds = index_animation(path, limits, parent.heartbeat)
        else:
            info, notes, index, seconds = index_packets(path, limits, parent.heartbeat)
    except VideoError:
        if memory_is_short(limits):
            raise MemoryError from None
        raise
    arrays = {**index.arrays(), "frame_seconds": seconds}
    if request["decoder"] == "decord":
        from longva_demo.video._ffmpeg.decord_frames import decord_seconds

        arrays["frame_seconds"], info["duration_seconds"], info["fps"] = decord_seconds(path)
    layout, payload = pack_arrays(arrays)
    parent.send({"kind": "info", "info": info, "flags": index.flags, "notes": notes, "arrays": layout}, payload)


def run_decode(
    request: Message, payload: bytes, limits: DecodeLimits, parent: ParentChannel, ring: int, release: int
) -> None:
    notes: list[str] = []
    shared = Ring(ring, request["num_slots"], request["slot_bytes"])
    writer = BatchWriter(parent, request, shared, release, notes)
    damaged: set[int] = set()
    if request["decoder"] == "decord":
        decoded = decode_with_decord(request, limits, parent, writer)
    else:
        decoded = decode_with_pyav(request, payload, limits, parent, writer, damaged)
    seconds = dict(zip(request["indices"], request["seconds"], strict=True))
    lost = set(seconds)
    for index in decoded:
        writer.add(index, seconds[index])
        lost.discard(index)
    if lost and memory_is_short(limits):
        raise MemoryError
    if damaged:
        what = "could only be partly decoded: the file is damaged there or earlier."
        notes.append(f"{frames_at(seconds, damaged)} {what}")
    if lost:
        notes.append(f"{frames_at(seconds, lost)} could not be decoded.")
    writer.finish()


def decode_with_pyav(
    request: Message,
    payload: bytes,
    limits: DecodeLimits,
    parent: ParentChannel,
    writer: FrameTarget,
    damaged: set[int],
) -> Iterator[int]:
    """Write each requested frame into the writer's memory and yield its index. Fills `damaged` at the end."""
    from longva_demo.video._ffmpeg.frames import exact_frames
    from longva_demo.video._ffmpeg.packets import PacketIndex
    from longva_demo.video._ffmpeg.pictures import PictureWriter
    from longva_demo.video._ffmpeg.reader import PacketReader
    from longva_demo.video.magic import is_animation

    pictures = PictureWriter(request["width"], request["height"], request["scale"])
    if is_animation(Path(request["path"])):
        from longva_demo.video._ffmpeg.animation import animation_frames

        for number, frame in animation_frames(Path(request["path"]), request["indices"], limits, parent.heartbeat):
            pictures.write(frame, writer.next_buffer())
            yield number
        return
    index = PacketIndex.from_parts(unpack_arrays(request["arrays"], payload), request["flags"])
    packets = index.shown[np.array(request["indices"])].tolist()
    index_of = dict(zip(packets, request["indices"], strict=True))
    reader = PacketReader(Path(request["path"]), index, limits, parent.heartbeat)
    damaged_packets: set[int] = set()
    with closing(reader):
        for packet, frame in exact_frames(reader, packets, damaged_packets):
            pictures.write(frame, writer.next_buffer())
            yield index_of[packet]
    damaged.update(index_of[packet] for packet in damaged_packets)


def decode_with_decord(
    request: Message, limits: DecodeLimits, parent: ParentChannel, writer: BatchWriter
) -> Iterator[int]:
    from longva_demo.video._ffmpeg.decord_frames import decord_frames
    from longva_demo.video._ffmpeg.orientation import Orientation

    orientation = Orientation(request["rotation"], request["is_mirrored"])
    for index, turned in decord_frames(Path(request["path"]), request["indices"], limits, parent.heartbeat):
        pixels = orientation.apply(orientation.rotation_only.undo(turned))  # decord ignores mirroring
        out = writer.next_buffer()
        if out.shape != pixels.shape:
            height, width = pixels.shape[:2]
            message = f"decord returns frames of {width} × {height} pixels, not {out.shape[1]} × {out.shape[0]}"
            raise VideoError(f"{Path(request['path']).name}: {message}", "use the decoder pyav")
        np.copyto(out, pixels)
        yield index


def run_preview(request: Message, payload: bytes, limits: DecodeLimits, parent: ParentChannel) -> None:
    from longva_demo.video._ffmpeg.packets import PacketIndex
    from longva_demo.video._ffmpeg.preview_file import PreviewFile, write_all, write_error, write_preview
    from longva_demo.video._ffmpeg.reader import PacketReader
    from longva_demo.video.magic import is_animation

    path = Path(request["path"])
    limit_resources(limits, request["max_bytes"])
    os.nice(5)
    index = PacketIndex.from_parts(unpack_arrays(request["arrays"], payload), request["flags"])
    seconds = dict(zip(index.shown[np.array(request["indices"])].tolist(), request["seconds"], strict=True))

    def report(share: float, num_frames: int) -> None:
        parent.send({"kind": "progress", "share": share, "num_frames": num_frames})

    try:
        preview = PreviewFile(Path(request["target"]), request["width"], request["height"], request["scale"])
        if is_animation(path):
            from longva_demo.video._ffmpeg.animation import animation_frames

            write_all(animation_frames(path, request["indices"], limits, parent.heartbeat), seconds, preview, report)
        else:
            with closing(PacketReader(path, index, limits, parent.heartbeat)) as reader:
                write_preview(reader, seconds, preview, request["full_decode_seconds"], report)
        if preview.num_frames == 0:
            if memory_is_short(limits):
                raise MemoryError
            raise VideoError(f"none of the frames of {path.name} could be decoded", CONVERT)
        preview.finish(request["end_seconds"])
    except Exception as error:
        disk_error = write_error(path.name, error)
        if disk_error is None:
            raise
        raise disk_error from error
    parent.send({"kind": "done", "num_frames": preview.num_frames})


def run_picture(request: Message, limits: DecodeLimits, parent: ParentChannel) -> None:
    from longva_demo.video.picture import condense
    from longva_demo.video.still import open_image

    warnings.simplefilter("ignore")  # Pillow's, of many pixels and invalid metadata
    limit_resources(limits)
    os.nice(5)
    parent.send({"kind": "heartbeat"})
    try:
        image = open_image(Path(request["path"]))
    except VideoError as error:
        if isinstance(error.__cause__, MemoryError) or memory_is_short(limits):
            raise MemoryError from None
        raise
    picture = condense(image, request["max_side"], request["side"], request["pinpoints"])
    arrays = {"small": picture.small, "slots": picture.slots}
    layout, payload = pack_arrays({name: array.ravel() for name, array in arrays.items()})
    message = {"kind": "picture", "size": picture.size, "sha256": picture.sha256, "arrays": layout}
    parent.send({**message, "shapes": {name: array.shape for name, array in arrays.items()}}, payload)


def serve(request: Message, payload: bytes, parent: ParentChannel, ring: int, release: int) -> None:
    name = Path(request["path"]).name
    limits = DecodeLimits(**request["limits"])
    try:
        if request["task"] == "picture":
            run_picture(request, limits, parent)
            return
        import av  # before the memory in use is measured

        assert av
        parent.send({"kind": "heartbeat"})
        if request["task"] == "preview":
            run_preview(request, payload, limits, parent)
            return
        limit_resources(limits)
        os.nice(5)  # keeps the page responsive while many workers decode
        if request["task"] == "probe":
            run_probe(request, limits, parent)
        elif request["task"] == "call":
            # Of a package that imports this one. Its parent process names it, no file does.
            module, function = request["function"].split(":")
            getattr(import_module(module), function)(request, payload, limits, parent)
        else:
            run_decode(request, payload, limits, parent, ring, release)
    except VideoError as error:
        parent.send({"kind": "error", "message": error.message, "remedy": error.remedy})
    except Exception as error:
        # EAGAIN: no memory for a thread's stack.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN):
            reported = memory_error(name, limits, request["task"])
            parent.send({"kind": "error", "message": reported.message, "remedy": reported.remedy})
        else:
            raise  # the parent reports the last line of the traceback


def main(request_end: int, release: int, lifeline: int, ring: int = -1) -> None:
    """The arguments are file descriptors."""
    die_with_parent(lifeline)
    messages: Any = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the messages
    with os.fdopen(request_end, "rb") as stream:
        request, payload = read_request(stream)
    serve(request, payload, ParentChannel(messages), ring, release)
