"""Writes small videos in every container, codec and timing that the ffmpeg program supports: input for `bench.media`.

    python -m bench.media_files FOLDER         # every codec in every container, constant and in one other timing
    python -m bench.media_files FOLDER --all   # in all timings: several thousand files

Each frame shows its number as bars. What ffmpeg cannot write is skipped. The same ffmpeg version writes the same files.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.media_matrix import MATRICES, set_matrix
from longva_demo.parallel import available_cpus

NUM_FRAMES, FPS, BITS = 50, 25, 16
CUT_SHARE = 0.6
MAX_SECONDS = 60.0  # per file
# Frames 0 to 9 at 25 fps, a gap of 12 s, then a third of the rate, a gap of 15 s, then half the rate.
GAPS = "setpts='(N+gte(N,10)*(300+2*(N-10))+gte(N,25)*(375-(N-25)))/25/TB'"


@dataclass(frozen=True)
class Codec:
    """ffmpeg's encoder, its options, the pixel format and the frame size."""

    encoder: str
    options: str = ""
    pixels: str = "yuv420p"
    size: tuple[int, int] = (176, 144)


X264, X265 = "-preset veryfast -threads 1", "-preset ultrafast -x265-params"
CODECS: dict[str, Codec] = {
    "h264": Codec("libx264", f"{X264} -bf 0 -g 12"),
    "h264_b": Codec("libx264", f"{X264} -bf 3 -g 12"),
    "h264_open_gop": Codec("libx264", f"{X264} -bf 3 -g 12 -x264-params open-gop=1:bframes=3:b-pyramid=normal"),
    "h264_refresh": Codec("libx264", f"{X264} -bf 0 -g 12 -x264-params intra-refresh=1"),
    "h264_10": Codec("libx264", f"{X264} -bf 2 -g 12", "yuv420p10le"),
    "h264_444": Codec("libx264", f"{X264} -bf 2 -g 12", "yuv444p"),
    "h264_rgb": Codec("libx264rgb", f"{X264} -g 12", "rgb24"),
    "hevc": Codec("libx265", f"{X265} log-level=error:pools=1:frame-threads=1:keyint=12:bframes=0"),
    "hevc_b": Codec("libx265", f"{X265} log-level=error:pools=1:frame-threads=1:keyint=12:bframes=3:open-gop=1"),
    "hevc_10": Codec("libx265", f"{X265} log-level=error:pools=1:frame-threads=1:keyint=12", "yuv420p10le"),
    "vp8": Codec("libvpx", "-g 12 -deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 10"),
    "vp9": Codec("libvpx-vp9", "-g 12 -deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 10"),
    "vp9_alpha": Codec("libvpx-vp9", "-g 12 -deadline realtime -cpu-used 8 -auto-alt-ref 0", "yuva420p"),
    "av1_svt": Codec("libsvtav1", "-g 12 -preset 12"),
    "av1_aom": Codec("libaom-av1", "-g 12 -cpu-used 8 -usage realtime"),
    "mpeg1": Codec("mpeg1video", "-g 12 -bf 2"),
    "mpeg2": Codec("mpeg2video", "-g 12 -bf 2"),
    "mpeg2_422": Codec("mpeg2video", "-g 12 -bf 2 -profile:v 0", "yuv422p"),
    "mpeg4": Codec("mpeg4", "-g 12 -bf 0"),
    "mpeg4_b": Codec("mpeg4", "-g 12 -bf 2"),
    "xvid": Codec("libxvid", "-g 12 -bf 2"),
    "msmpeg4v2": Codec("msmpeg4v2", "-g 12"),
    "msmpeg4v3": Codec("msmpeg4", "-g 12"),
    "wmv1": Codec("wmv1", "-g 12"),
    "wmv2": Codec("wmv2", "-g 12"),
    "flv1": Codec("flv", "-g 12"),
    "flashsv": Codec("flashsv", "-g 12", "bgr24"),
    "h261": Codec("h261", "-g 12"),
    "h263": Codec("h263", "-g 12"),
    "h263p": Codec("h263p", "-g 12"),
    "cinepak": Codec("cinepak", "-g 12", "rgb24"),
    "prores": Codec("prores_ks", "", "yuv422p10le"),
    "prores_4444": Codec("prores_ks", "", "yuva444p10le"),
    "dnxhd": Codec("dnxhd", "-b:v 36M", "yuv422p", (1280, 720)),
    "dnxhr": Codec("dnxhd", "-profile:v dnxhr_sq", "yuv422p", (256, 144)),
    "ffv1": Codec("ffv1", "-g 12 -level 3"),
    "ffv1_16": Codec("ffv1", "-g 1 -level 3", "gray16le"),
    "huffyuv": Codec("huffyuv", "", "yuv422p"),
    "ffvhuff": Codec("ffvhuff"),
    "utvideo": Codec("utvideo"),
    "magicyuv": Codec("magicyuv"),
    "mjpeg": Codec("mjpeg", "-q:v 3", "yuvj420p"),
    "ljpeg": Codec("ljpeg", "", "yuvj420p"),
    "jpegls": Codec("jpegls", "", "rgb24"),
    "png": Codec("png", "", "rgb24"),
    "png_alpha": Codec("png", "", "rgba"),
    "apng": Codec("apng", "", "rgb24"),
    "gif": Codec("gif", "", "rgb8"),
    "webp": Codec("libwebp_anim", "", "yuv420p"),
    "webp_still": Codec("libwebp", "", "yuv420p"),
    "qtrle": Codec("qtrle", "-g 12", "rgb24"),
    "rpza": Codec("rpza", "-g 12", "rgb555le"),
    "smc": Codec("smc", "-g 12", "pal8"),
    "raw_yuv": Codec("rawvideo"),
    "raw_rgb": Codec("rawvideo", "", "bgr24"),
    "raw_uyvy": Codec("rawvideo", "", "uyvy422"),
    "v210": Codec("v210", "", "yuv422p10le"),
    "r210": Codec("r210", "", "gbrp10le"),
    "theora": Codec("libtheora", "-g 12 -q:v 7"),
    "dv": Codec("dvvideo", "", "yuv420p", (720, 576)),
    "dv_ntsc": Codec("dvvideo", "-r 30000/1001", "yuv411p", (720, 480)),
    "svq1": Codec("svq1", "-g 12", "yuv410p"),
    "rv10": Codec("rv10", "-g 12"),
    "rv20": Codec("rv20", "-g 12"),
    "snow": Codec("snow", "-g 12 -strict -2"),
    "cfhd": Codec("cfhd", "", "yuv422p10le"),
    "jpeg2000": Codec("jpeg2000"),
    "hap": Codec("hap", "", "rgba"),
    "vc2": Codec("vc2"),
    "zmbv": Codec("zmbv", "-g 12", "bgr0"),
    "zlib": Codec("zlib", "", "bgr24"),
    "asv1": Codec("asv1"),
    "speedhq": Codec("speedhq"),
    "roq": Codec("roqvideo", "", "yuvj444p"),
    "amv": Codec("amv", "", "yuvj420p"),
    "sunrast": Codec("sunrast", "", "rgb24"),
    "bmp": Codec("bmp", "", "bgr24"),
    "tiff": Codec("tiff", "", "rgb24"),
    "targa": Codec("targa", "", "bgr24"),
    "qoi": Codec("qoi", "", "rgb24"),
    "jpegxl": Codec("libjxl", "", "rgb24"),
    "exr": Codec("exr", "", "gbrpf32le"),
}
CONTAINERS: dict[str, str] = {  # file extension: muxer and options
    "mp4": "mp4",
    "frag.mp4": "mp4 -movflags frag_keyframe+empty_moov",
    "mov": "mov",
    "m4v": "ipod",
    "3gp": "3gp",
    "3g2": "3g2",
    "f4v": "f4v",
    "ismv": "ismv",
    "mkv": "matroska",
    "live.mkv": "matroska -live 1",
    "webm": "webm",
    "avi": "avi",
    "flv": "flv",
    "ts": "mpegts",
    "m2ts": "mpegts -mpegts_m2ts_mode 1",
    "mpg": "mpeg",
    "vob": "vob",
    "svcd.mpg": "svcd",
    "wmv": "asf",
    "stream.asf": "asf_stream",
    "ogv": "ogg",
    "nut": "nut",
    "mxf": "mxf",
    "gxf": "gxf",
    "wtv": "wtv",
    "rm": "rm",
    "swf": "swf",
    "dv": "dv",
    "ivf": "ivf",
    "gif": "gif",
    "apng": "apng",
    "webp": "webp",
    "avif": "avif",
    "y4m": "yuv4mpegpipe",
    "mjpeg": "mjpeg",
    "mjpg": "mpjpeg",
    "h264": "h264",
    "hevc": "hevc",
    "obu": "obu",
    "m1v": "mpeg1video",
    "m2v": "mpeg2video",
    "raw.m4v": "m4v",
    "h263": "h263",
    "h261": "h261",
    "dnxhd": "dnxhd",
    "drc": "dirac",
    "amv": "amv",
    "roq": "roq",
    "cpk": "film_cpk",
    "png": "image2 -update 1",
}
RAW: dict[str, tuple[str, ...]] = {  # formats to which ffmpeg writes any codec, but reads only these encoders' output
    "mjpeg": ("mjpeg", "ljpeg"),
    "mjpg": ("mjpeg", "ljpeg"),
    "h264": ("libx264", "libx264rgb"),
    "hevc": ("libx265",),
    "obu": ("libsvtav1", "libaom-av1"),
    "m1v": ("mpeg1video",),
    "m2v": ("mpeg2video",),
    "raw.m4v": ("mpeg4", "libxvid"),
    "h263": ("h263", "h263p"),
    "h261": ("h261",),
    "dnxhd": ("dnxhd",),
    "drc": ("vc2",),
    "png": ("png", "apng"),
}
TIMINGS = ("gaps", "offset", "negative", "single", "cut", "interlaced", "turned", "mirrored")
TIMING_OPTIONS = {
    "gaps": f"-vf {GAPS}",
    "offset": "-output_ts_offset 5",
    "negative": "-output_ts_offset -1 -avoid_negative_ts disabled",
    "single": "-frames:v 1",
    "interlaced": "-vf setfield=tff -flags +ildct+ilme",
    "turned": "-metadata:s:v rotate=90",
}


@dataclass(frozen=True)
class Clip:
    codec: str
    container: str
    timing: str

    @property
    def name(self) -> str:
        return f"{self.codec}-{self.timing}.{self.container}"


def clip_groups(every_timing: bool) -> Iterator[list[Clip]]:
    """Per codec and compatible container: the constant clip, then all other timings, or one of them in rotation."""
    for row, codec in enumerate(CODECS):
        for column, container in enumerate(CONTAINERS):
            if CODECS[codec].encoder not in RAW.get(container, (CODECS[codec].encoder,)):
                continue
            timings = TIMINGS if every_timing else (TIMINGS[(row + column) % len(TIMINGS)],)
            yield [Clip(codec, container, timing) for timing in ("constant", *timings)]


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3): the number as bars, inverted in the lower half; the left edge is red."""
    bits = np.array([number >> shift & 1 for shift in range(BITS)], dtype=np.uint8) * 200 + 30
    columns = bits[np.arange(width) * BITS // width]
    drawn = np.empty((height, width, 3), dtype=np.uint8)
    drawn[: height // 2] = columns[None, :, None]
    drawn[height // 2 :] = 255 - columns[None, :, None]
    drawn[:, : width // 32] = (220, 30, 30)
    return drawn


def write_sources(folder: Path) -> dict[tuple[int, int], Path]:
    """Write the raw frames in each size."""
    sources = {}
    for width, height in sorted({codec.size for codec in CODECS.values()}):
        sources[width, height] = folder / f"{width}x{height}.rgb"
        with sources[width, height].open("wb") as file:
            for number in range(NUM_FRAMES):
                file.write(numbered_frame(number, width, height).tobytes())
    return sources


def write_clip(clip: Clip, target: Path, sources: dict[tuple[int, int], Path]) -> bool:
    """Write a clip. Returns False if ffmpeg cannot."""
    codec = CODECS[clip.codec]
    if clip.timing == "mirrored":
        matrix = MATRICES[list(CODECS).index(clip.codec) % len(MATRICES)]
        constant = Clip(clip.codec, clip.container, "constant")
        return write_clip(constant, target, sources) and set_matrix(target, matrix, codec.size)
    size = "x".join(map(str, codec.size))
    source = f"-f rawvideo -pix_fmt rgb24 -s {size} -r {FPS} -i"
    encode = f"-c:v {codec.encoder} {codec.options} -pix_fmt {codec.pixels} {TIMING_OPTIONS.get(clip.timing, '')}"
    exact = (
        f"-map_metadata -1 -fflags +bitexact -flags:v +bitexact -fps_mode passthrough -f {CONTAINERS[clip.container]}"
    )
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *source.split(), str(sources[codec.size])]
    command += [*encode.split(), *exact.split(), str(target)]
    try:
        ended = subprocess.run(command, check=False, capture_output=True, timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode or not target.exists() or target.stat().st_size == 0:
        return False
    if clip.timing == "cut":
        os.truncate(target, int(target.stat().st_size * CUT_SHARE))
    return True


def write_group(group: list[Clip], folder: Path, sources: dict[tuple[int, int], Path]) -> list[Clip]:
    """Write the clips of a group and return those that succeeded. If the first, constant one fails, skip the others."""
    written = []
    for clip in group:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as partial:
            target = Path(partial) / clip.name
            if write_clip(clip, target, sources):
                target.replace(folder / clip.name)
                written.append(clip)
            elif clip.timing == "constant":
                break
    return written


def write(folder: Path, every_timing: bool) -> int:
    """Write the clips into the folder. Returns the exit code."""
    if shutil.which("ffmpeg") is None:
        print("the ffmpeg program is not installed; install it, for example apt-get install ffmpeg", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="longva-media-") as drawn, ThreadPoolExecutor(available_cpus()) as pool:
        sources = write_sources(Path(drawn))
        for written in pool.map(lambda group: write_group(group, folder, sources), list(clip_groups(every_timing))):
            counts.update(clip.timing for clip in written)
    timings = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"{sum(counts.values())} clips in {folder}: {timings}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="write each codec and container in all timings")
    options = parser.parse_args()
    return write(options.folder, options.all)


if __name__ == "__main__":
    sys.exit(main())
