"""Limits on the time, memory and size that one video may use."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from longva_demo.errors import VideoError
from longva_demo.settings import Settings

MIB = 1024 * 1024


@dataclass(frozen=True)
class DecodeLimits:
    """Limits for one probe or one decode. Exceeding one raises a VideoError.

    timeout_seconds: total time that the consumer may wait for the worker; its own processing time does not count.
    stall_seconds: longest time without a heartbeat. The worker sends one at least every second while it reads
        packets, so only a hang inside a decoder reaches this limit.
    memory_bytes: memory that the worker may use on top of an idle worker's.
    max_frame_pixels: width × height above which a file is rejected (a decompression bomb); 8K passes.
    chunk_bytes: RGB pixels in flight between worker and consumer, whatever the budget; at least three frames.
    """

    timeout_seconds: float = 600.0
    stall_seconds: float = 60.0
    memory_bytes: int = 4096 * MIB
    max_duration_seconds: float = 6 * 3600.0
    max_size_bytes: int = 4096 * MIB
    max_frame_pixels: int = 8192 * 4608
    chunk_bytes: int = 48 * MIB

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise VideoError(f"{value} is not a valid {field.name}", "use a number above 0")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            timeout_seconds=settings.decode_timeout_seconds,
            memory_bytes=settings.decode_memory_bytes,
            max_duration_seconds=settings.max_video_seconds,
            max_size_bytes=settings.max_file_bytes,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
