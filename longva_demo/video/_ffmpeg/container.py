"""Opening a local video file with PyAV, and nothing else with it. Runs in the worker."""

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
# Containers whose demuxers read the one file they are given. Playlists (hls, dash, concat, sdp), which open
# other files and addresses, are refused by leaving them out.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,gif,apng,mxf,ivf,nut,"
    "h264,hevc,h263,h261,obu,av1,yuv4mpegpipe,dv,rm,swf,vob,wtv,gxf,mjpeg,mpjpeg"
)
MAX_THREADS = 4  # of a decoder; each holds frames in memory
COVER_PACKETS = 500  # of all picture tracks; a film has had more than one of them by then
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
GENERATE_PTS = 1  # AVFMT_FLAG_GENPTS, which PyAV sets

Heartbeat = Callable[[], None]  # called often inside long loops: tells the parent that the worker lives


@dataclass(frozen=True)
class Video:
    """An open container, its picture track, and what decodes that."""

    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext

    def close(self) -> None:
        self.container.close()


def open_video(path: Path, limits: DecodeLimits) -> Video:
    """Open the file's picture track; the demuxer skips all others.

    Raises:
        VideoError: no video, unknown or encrypted coding, or pictures beyond the limits.
    """
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_frame_pixels),
    }
    refuse_single_pictures(path)
    container = open_container(path, options)
    streams = picture_tracks(container)
    if not streams:
        what = "has sound but no picture track" if container.streams.audio else "has no picture track"
        container.close()
        raise VideoError(f"{path.name} {what}", "choose a file with a picture track")
    if len(streams) > 1:
        film = film_track(container)
        container.close()
        container = open_container(path, options)
    else:
        film = streams[0].index
    stream = container.streams[film]
    assert isinstance(stream, VideoStream)
    try:
        check_stream(path, stream, limits)
    except VideoError:
        container.close()
        raise
    # A missing time must be seen as missing, not be guessed by FFmpeg.
    container.flags &= ~GENERATE_PTS
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    decoder = decoder_of(stream)
    decoder.options = {"max_pixels": str(limits.max_frame_pixels)}
    return Video(container, stream, decoder)


def refuse_single_pictures(path: Path) -> None:
    """FFmpeg takes a photo of an iPhone for a film of one frame, and shows one of the tiles that it is made of."""
    with path.open("rb") as opened:
        kind = picture_kind(opened.read(HEAD_BYTES))
    if kind in ("AVIF", "HEIC") and not has_movie(path):
        raise VideoError(f"{path.name} is a picture ({kind}), not a video", "ask about it as a picture")


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The track's decoder; where a WebM has transparency, one that sees it: FFmpeg's own passes it over."""
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or context.name not in WITH_ALPHA:
        return context
    decoder = CodecContext.create(WITH_ALPHA[context.name], "r")
    assert isinstance(decoder, VideoCodecContext)
    return decoder


def open_container(path: Path, options: dict[str, str]) -> InputContainer:
    try:
        # "file:" keeps a name such as "concat:a|b" from being read as an address.
        # FFmpeg's guess for a few JPEG pictures in a row is a single one.
        kind = "mjpeg" if is_jpeg_stream(path) else None
        container = av.open(f"file:{path}", format=kind, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise why_not_opened(path, error) from error
    assert isinstance(container, InputContainer)
    return container


def picture_tracks(container: InputContainer) -> list[VideoStream]:
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def film_track(container: InputContainer) -> int:
    """The number of FFmpeg's best picture track, or of the largest other one where that has a single picture.

    Such a track is a cover that is not marked as one. Reads packets up to the best track's second, or until other
    tracks have had a good many; headers miscount.
    """
    streams = picture_tracks(container)
    best = container.streams.best("video")
    best = best if best in streams else streams[0]
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    try:
        for packet in container.demux(*streams):
            counts[packet.stream_index] += packet.size > 0
            if counts[best.index] > 1 or sum(counts.values()) > COVER_PACKETS:
                break
    except (av.error.FFmpegError, IndexError):
        pass  # damaged: what was read so far decides
    films = [stream for stream in streams if counts[stream.index] > 1]
    if best in films or not films:
        return best.index
    return max(films, key=lambda stream: stream.width * stream.height).index


def check_stream(path: Path, stream: VideoStream, limits: DecodeLimits) -> None:
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{path.name} uses a video coding that this decoder does not know", CONVERT)
    width, height = context.width, context.height
    if width * height > limits.max_frame_pixels:
        message = f"{path.name} has pictures of {width} × {height} pixels"
        raise VideoError(message, f"convert it to at most {limits.max_frame_pixels:,} pixels a frame")


def demux(video: Video) -> Iterator[av.Packet]:
    """The picture track's packets, and an empty one at the end.

    PyAV fails on the packets of tracks that turn up in the middle of a damaged transport stream: they are passed over.
    """
    while True:
        try:
            yield from video.container.demux(video.stream)
            return
        except IndexError:
            continue


def use_threads(video: Video, most: int) -> None:
    """Decode with as many threads as there are processors, up to `most`."""
    available = available_cpus()
    video.decoder.thread_type = "FRAME"
    video.decoder.thread_count = min(available, most)


def why_not_opened(path: Path, error: Exception) -> VideoError:
    if is_out_of_memory(error):
        raise MemoryError from error
    with path.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if (kind := picture_kind(head)) is not None:
        return VideoError(f"{path.name} is a picture ({kind}), not a video", "ask about it as a picture")
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"free", b"wide"):
        message = f"{path.name} is an MP4 whose index cannot be read, as after a cut-off recording or upload"
        return VideoError(message, "upload it again, or repair the recording")
    return VideoError(f"{path.name} is not a video that can be read ({reason(error)})", CONVERT)


def reason(error: Exception) -> str:
    """FFmpeg's own words, without PyAV's error number and file name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == 12
