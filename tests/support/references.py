"""Files that refer to other files: playlists, scripts, subtitles, containers and pictures."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, PngImagePlugin

from tests.video.heif import box, coded, full_box, write_heic

UNKNOWN_SIZE = b"\x01" + b"\xff" * 7  # EBML: the element extends to the end of its parent
TEXTS = {
    "hls.m3u8": (
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=AES-128,URI={0}\n#EXT-X-MAP:URI={0}\n#EXTINF:4,\n{0}\n"
    ),
    "dash.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT4S"><BaseURL>{0}'
        '</BaseURL><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{0}'
        "</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "list.ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 10.0.0.7\nc=IN IP4 10.0.0.7\nm=video 8080 RTP/AVP 96\na=control:{0}\n",
    "list.asx": '<asx version="3.0"><entry><ref href="{0}"/></entry></asx>',
    "list.pls": "[playlist]\nNumberOfEntries=1\nFile1={0}\n",
    "list.ram": "{0}\n",
    "list.xspf": '<playlist version="1"><trackList><track><location>{0}</location></track></trackList></playlist>',
    "picture.svg": (
        '<!DOCTYPE svg [<!ENTITY other SYSTEM "{0}">]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
        '<image href="{0}"/><text>&other;</text></svg>'
    ),
    "subtitles.srt": '1\n00:00:00,000 --> 00:00:04,000\n<img src="{0}">\n',
    "subtitles.vtt": "WEBVTT\n\nSTYLE\n@import url({0});\n\n00:00.000 --> 00:04.000\n{0}\n",
    "subtitles.ass": "[Script Info]\nAudio File: {0}\nVideo File: {0}\n\n[Fonts]\nfontname: {0}\n",
    "page.html": '<meta http-equiv="refresh" content="0;url={0}"><img src="{0}">',
    "picture.eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({0}) run\n",
    "document.pdf": "%PDF-1.4\n1 0 obj<</Type/Action/S/URI/URI({0})>>endobj\ntrailer<</Root 1 0 R>>\n",
}
SCRIPT_COMMAND = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6")  # ASF Script Command Object


def texts(target: str) -> dict[str, bytes]:
    """Text files that refer to `target`."""
    return {name: text.format(target).encode() for name, text in TEXTS.items()}


def playlists(target: str) -> dict[str, bytes]:
    """Playlists that look binary: with zeros at the end, and with the start of an MP4."""
    files = {
        name: texts(target)[name] + bytes(2048) for name in ("hls.m3u8", "dash.mpd", "list.ffconcat", "session.sdp")
    }
    media = box(b"ftyp", b"mp42", bytes(8))
    return {f"padded-{name}": text for name, text in files.items()} | {
        f"media-{name}": media + text for name, text in files.items()
    }


def containers(target: str, clip: bytes) -> dict[str, bytes]:
    """Videos that refer to `target`. `clip` is an MP4 file with its index at the end."""
    link = target.encode()
    outside = full_box(b"url ", 0, 0, link + b"\0")
    alias = full_box(b"alis", 0, 0, struct.pack(">H", 150) + bytes(148) + struct.pack(">HH", 2, len(link)) + link)
    movie = box(b"rmra", box(b"rmda", full_box(b"rdrf", 0, 0, b"url ", struct.pack(">I", len(link)), link)))
    return {
        "url.mp4": with_data_reference(clip, outside),
        "alias.mov": with_data_reference(clip, alias),
        "named.mov": with_data_reference(clip, full_box(b"urn ", 0, 0, link + b"\0" + link + b"\0")),
        "movie.mov": box(b"ftyp", b"qt  ", bytes(8)) + box(b"moov", movie),
        "movie-and-clip.mov": clip + box(b"moov", movie),
        "next.mkv": with_next_segment(transcoded("matroska", target), link),
        "title.webm": transcoded("webm", target, "libvpx"),
        "title.avi": transcoded("avi", target, "mpeg4"),
        "script.asf": with_script(transcoded("asf", target, "mpeg4"), target),
        "animation.gif": animation(link),
    }


def pictures(target: str, folder: Path) -> dict[str, bytes]:
    """Pictures that refer to `target`; `folder` is for temporary files."""
    link, picture = target.encode(), Image.new("RGB", (64, 64), "red")
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><xmpMM:DerivedFrom rdf:resource="{target}"/></x:xmpmeta>'.encode()
    exif = Image.Exif()
    exif[0x010E] = exif[0x8298] = target  # description, copyright
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": exif, "xmp": xmp, "comment": link},
        "PNG": {"exif": exif, "pnginfo": texts},
        "TIFF": {"tiffinfo": {270: target, 33432: target}},
        "WEBP": {"exif": exif, "xmp": xmp},
        "AVIF": {"exif": exif, "xmp": xmp},
        "GIF": {"comment": link},
    }
    files = {f"picture.{kind.lower()}": saved(picture, kind, **more) for kind, more in options.items()}
    heic = write_heic(folder / "plain.heic", [coded(np.zeros((64, 64, 3), np.uint8))]).read_bytes()
    files["outside.heic"] = with_outside_items(heic, full_box(b"url ", 0, 0, link + b"\0"))
    return files


def edited(data: bytes, path: list[bytes], edit: Callable[[bytes], bytes]) -> bytes:
    """The boxes in `data`, with `edit` applied to the content of those at this path."""
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + size]
        if kind == path[0]:
            content = edit(content) if len(path) == 1 else edited(content, path[1:], edit)
        out += box(kind, content)
        at += size
    return out


def with_data_reference(clip: bytes, entry: bytes) -> bytes:
    """The MP4 with `entry` as the place of its frames. The index is after the frames, which therefore do not move."""
    return edited(
        clip, [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], lambda _: struct.pack(">II", 0, 1) + entry
    )


def with_outside_items(heic: bytes, entry: bytes) -> bytes:
    """The HEIC with `entry` as the place of its one item."""

    def edit(meta: bytes) -> bytes:
        place = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), entry))
        items = edited(meta[4:], [b"iloc"], lambda iloc: iloc[:10] + struct.pack(">H", 1) + iloc[12:])
        return meta[:4] + items + place

    return edited(heic, [b"meta"], edit)


def transcoded(container: str, title: str, codec: str = "libx264") -> bytes:
    """Four frames, with `title` in the metadata and, in Matroska, as the name of an attached font."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        file.metadata.update(title=title, comment=title)
        if container == "matroska":
            file.add_attachment(title, "application/x-truetype-font", b"font")
        stream: Any = file.add_stream(codec, rate=4, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode())
    return out.getvalue()


def with_next_segment(mkv: bytes, name: bytes) -> bytes:
    """The Matroska file with names of the previous and the next file (RFC 9559, 17.1)."""
    start = mkv.index(b"\x18\x53\x80\x67") + 4  # Segment
    names = b"".join(
        kind + struct.pack(">H", 0x4000 | len(value)) + value
        for kind, value in ((b"\x3c\x83\xab", name), (b"\x3e\x83\xbb", name), (b"\x3e\xb9\x23", bytes(16)))
    )
    info = b"\x15\x49\xa9\x66" + struct.pack(">H", 0x4000 | len(names)) + names
    return mkv[:start] + UNKNOWN_SIZE + info + mkv[start + 8 :]


def with_script(asf: bytes, target: str) -> bytes:
    """The ASF file with a command that opens a URL (Advanced Systems Format, 3.6)."""
    words = [text.encode("utf-16le") for text in ("URL", target)]
    content = bytes(16) + struct.pack("<HH", 1, 1) + struct.pack("<H", len(words[0]) // 2) + words[0]
    content += struct.pack("<IHH", 0, 0, len(words[1]) // 2) + words[1]
    script = SCRIPT_COMMAND + struct.pack("<Q", len(content) + 24) + content
    size, count = struct.unpack_from("<QI", asf, 16)
    return asf[:16] + struct.pack("<QI", size + len(script), count + 1) + asf[28:30] + script + asf[30:]


def animation(comment: bytes) -> bytes:
    frames = [Image.new("RGB", (64, 64), (60 * number, 0, 0)) for number in range(4)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, comment=comment)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
