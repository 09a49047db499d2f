"""Open a local video file with PyAV, and no other file. Runs in the worker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from longva_demo.errors import VideoError
from longva_demo.parallel import available_cpus
from longva_demo.video.jpeg_stream import is_jpeg_stream
from longva_demo.video.limits import DecodeLimits
from longva_demo.video.magic import HEAD_BYTES, has_movie, picture_kind

CONVERT = "convert it to an MP4 with H.264 video and try again"
# Demuxers that read only the given file. Playlists (hls, dash, concat, sdp) are missing, since they open other files
# and URLs.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,gif,apng,mxf,ivf,nut,"
    "h264,hevc,h263,h261,obu,av1,yuv4mpegpipe,dv,rm,swf,vob,wtv,gxf,mjpeg,mpjpeg"
)
MAX_THREADS = 4  # per decoder; each thread holds frames in memory
MAX_COVER_SEARCH_PACKETS = 500  # of all video tracks; every real video track has several packets by then
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
GENERATE_PTS = 1  # AVFMT_FLAG_GENPTS, which PyAV sets

Heartbeat = Callable[[], None]  # called often in long loops; tells the parent that the worker is alive


@dataclass(frozen=True)
class Video:
    """An open container, its video track, and the track's decoder."""

    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext

    def close(self) -> None:
        self.container.close()


def open_video(path: Path, limits: DecodeLimits) -> Video:
    """Open the file's video track. The demuxer skips all other tracks.

    Raises:
        VideoError: no video, an unknown codec, or frames above the size limit.
    """
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_frame_pixels),
    }
    reject_still_pictures(path)
    container = open_container(path, options)
    streams = video_tracks(container)
    if not streams:
        what = "has audio but no video track" if container.streams.audio else "has no video track"
        container.close()
        raise VideoError(f"{path.name} {what}", "choose a file with a video track")
    if len(streams) > 1:
        index = main_video_track(container)
        container.close()
        container = open_container(path, options)
    else:
        index = streams[0].index
    stream = container.streams[index]
    assert isinstance(stream, VideoStream)
    try:
        check_stream(path, stream, limits)
    except VideoError:
        container.close()
        raise
    # FFmpeg must report missing timestamps as missing, not guess them.
    container.flags &= ~GENERATE_PTS
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    decoder = decoder_of(stream)
    decoder.options = {"max_pixels": str(limits.max_frame_pixels)}
    return Video(container, stream, decoder)


def reject_still_pictures(path: Path) -> None:
    """Raise VideoError for HEIC and AVIF pictures: FFmpeg would decode one tile of them as a video of one frame."""
    with path.open("rb") as opened:
        kind = picture_kind(opened.read(HEAD_BYTES))
    if kind in ("AVIF", "HEIC") and not has_movie(path):
        raise VideoError(f"{path.name} is a picture ({kind}), not a video", "ask about it as a picture")


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The track's decoder. For a WebM with alpha, libvpx: FFmpeg's own VP8 and VP9 decoders ignore alpha."""
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or context.name not in ALPHA_DECODERS:
        return context
    decoder = CodecContext.create(ALPHA_DECODERS[context.name], "r")
    assert isinstance(decoder, VideoCodecContext)
    return decoder


def open_container(path: Path, options: dict[str, str]) -> InputContainer:
    try:
        # "file:" keeps a name such as "concat:a|b" from being parsed as a URL.
        # FFmpeg takes a short MJPEG stream for a single picture.
        kind = "mjpeg" if is_jpeg_stream(path) else None
        container = av.open(f"file:{path}", format=kind, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise open_error(path, error) from error
    assert isinstance(container, InputContainer)
    return container


def video_tracks(container: InputContainer) -> list[VideoStream]:
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def main_video_track(container: InputContainer) -> int:
    """The index of FFmpeg's best video track, or of the largest other one if that has a single frame.

    A track of one frame is a cover image without the flag. Reads packets until the best track has two, or up to a
    limit, since the frame counts in headers are unreliable.
    """
    streams = video_tracks(container)
    best = container.streams.best("video")
    best = best if best in streams else streams[0]
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    try:
        for packet in container.demux(*streams):
            counts[packet.stream_index] += packet.size > 0
            if counts[best.index] > 1 or sum(counts.values()) > MAX_COVER_SEARCH_PACKETS:
                break
    except (av.error.FFmpegError, IndexError):
        pass  # damaged: decide by what was read so far
    videos = [stream for stream in streams if counts[stream.index] > 1]
    if best in videos or not videos:
        return best.index
    return max(videos, key=lambda stream: stream.width * stream.height).index


def check_stream(path: Path, stream: VideoStream, limits: DecodeLimits) -> None:
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{path.name} uses a video codec that is not supported", CONVERT)
    width, height = context.width, context.height
    if width * height > limits.max_frame_pixels:
        message = f"{path.name} has frames of {width} × {height} pixels"
        raise VideoError(message, f"convert it to at most {limits.max_frame_pixels:,} pixels per frame")


def demux(video: Video) -> Iterator[av.Packet]:
    """The video track's packets, and an empty one at the end.

    PyAV raises IndexError for tracks that appear in the middle of a damaged transport stream. They are skipped.
    """
    while True:
        try:
            yield from video.container.demux(video.stream)
            return
        except IndexError:
            continue


def use_threads(video: Video, max_threads: int) -> None:
    """Decode with one thread per available core, up to `max_threads`."""
    video.decoder.thread_type = "FRAME"
    video.decoder.thread_count = min(available_cpus(), max_threads)


def open_error(path: Path, error: Exception) -> VideoError:
    if is_out_of_memory(error):
        raise MemoryError from error
    with path.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if (kind := picture_kind(head)) is not None:
        return VideoError(f"{path.name} is a picture ({kind}), not a video", "ask about it as a picture")
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"free", b"wide"):
        message = f"{path.name} is an MP4 without a readable index (the recording or upload may have been cut off)"
        return VideoError(message, "upload it again, or repair the recording")
    return VideoError(f"{path.name} is not a readable video ({reason(error)})", CONVERT)


def reason(error: Exception) -> str:
    """FFmpeg's message, without PyAV's error number and file name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == 12
