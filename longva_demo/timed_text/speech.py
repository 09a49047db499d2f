"""Speech, recognised by faster-whisper in a worker. Results are kept by the file's hash."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from longva_demo.quotas import CLIENT, RECOGNISERS
from longva_demo.timed_text.line import Line
from longva_demo.timed_text.packages import check_installed
from longva_demo.timed_text.speech_models import find_model
from longva_demo.timed_text.update import MAX_WAIT_SECONDS, Request, Update
from longva_demo.video import DecodeLimits, VideoInfo
from longva_demo.video._worker.process import Role, WorkerProcess
from longva_demo.video.probe import check_unchanged

WORKER = "longva_demo.timed_text.speech_worker:run"
ROLE = Role("speech recogniser", "recognising speech", "choose a shorter range, or a smaller --speech-model")
# Seconds per second of sound that a large model may take on a slow processor.
MAX_FACTOR = 10.0
STALL_SECONDS = 300.0  # one step of the model, 30 s of sound


def recognise_speech(info: VideoInfo, request: Request, limits: DecodeLimits) -> Iterator[Update]:
    """Yield an update for each few seconds of speech. Closing the iterator ends the worker.

    Raises:
        DemoError: a package or the model is missing, or the worker fails or exceeds a limit.
    """
    check_installed("speech")
    model = find_model(request.speech_model, request.may_download)
    check_unchanged(info.path, info, limits)
    start = request.start_seconds
    end = info.duration_seconds if request.end_seconds is None else min(request.end_seconds, info.duration_seconds)
    length = end - start
    message = {
        "task": "call",
        "function": WORKER,
        "path": str(info.path.resolve()),
        "model": str(model),
        "zero_seconds": info.zero_seconds,
        "start": start,
        "end": end,
        "limits": limits.to_dict(),
    }
    long = replace(
        limits, timeout_seconds=max(limits.timeout_seconds, MAX_FACTOR * length), stall_seconds=STALL_SECONDS
    )
    lines: tuple[Line, ...] = ()
    with RECOGNISERS.hold(CLIENT.get(), MAX_WAIT_SECONDS):
        yield Update("speech", lines, 0.0, length)
        with closing(WorkerProcess(info.path.name, message, b"", long, role=ROLE)) as worker:
            while (reply := worker.receive()[0])["kind"] == "speech":
                lines += tuple(Line(first, last, text, "speech") for first, last, text in reply["lines"])
                yield Update("speech", lines, min(reply["done"] - start, length - 0.001), length)
    note = ""
    if not reply["has_sound"]:
        note = f"{info.path.name} has no sound{'' if length == info.duration_seconds else ' there'}."
    elif not lines:
        note = f"{info.path.name} has sound, but no speech was found in it."
    yield Update("speech", lines, length, length, (note,) if note else ())
