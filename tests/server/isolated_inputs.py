"""What a client can send that names a file or another machine."""

import os
from pathlib import Path
from typing import Any

import httpx

META = {"_type": "gradio.FileData"}
# Loopback, private, CGNAT, link-local, mapped and unique local addresses, other spellings, a public one, and names.
URLS = (
    "http://127.0.0.1:8080/a.mp4",
    "http://localhost:8080/a.mp4",
    "http://10.0.0.7/a.mp4",
    "https://172.16.0.7/a.mp4",
    "http://192.168.1.1:45678/a.mp4",
    "http://100.64.0.7/a.mp4",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:8080/a.mp4",
    "http://[::ffff:10.0.0.7]/a.mp4",
    "http://[fd00::7]/a.mp4",
    "http://2130706433:8080/a.mp4",
    "http://0x7f.1:8080/a.mp4",
    "HTTPS://8.8.8.8/a.mp4",
    "http://intranet.example/a.mp4",
    "https://huggingface.co/a.mp4",
    "//10.0.0.7/a.mp4",
    "ftp://10.0.0.7/a.mp4",
    "rtsp://10.0.0.7/a.mp4",
    "rtmp://10.0.0.7/a",
    "tcp://10.0.0.7:8080",
    "gopher://10.0.0.7:80/_a",
    "concat:http://10.0.0.7/a.mp4|http://10.0.0.7/b.mp4",
)
URL = "http://10.0.0.7/a.mp4"
# What a request says about itself; the first are those that Gradio, uvicorn and proxies read.
HEADERS = (
    "Host",
    "X-Forwarded-Host",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Real-IP",
    "X-Gradio-Target",
    "X-Gradio-Server",
    "X-Gradio-User",
    "X-IP-Token",
    "X-Direct-Url",
    "X-Wap-Profile",
    "Forwarded",
    "Via",
    "From",
    "Referer",
    "Origin",
    "Authorization",
    "Cookie",
    "Range",
    "If-None-Match",
    "Destination",
    "Link",
    "Upgrade",
)
NAMES = ("http:%2f%2f10.0.0.7%2fa.mp4", "concat:a|b.mp4", "clip%03d.mp4", "pipe:0", "crypto:tcp:10.0.0.7", "-i.mp4")
LOCAL = ("url.mp4", "alias.mov", "next.mkv")  # containers that name a file
# Handlers that run for long with valid numbers.
SLOW = ("start",)


def file_values(link: str, upload: str) -> list[Any]:
    """A file's field, with `link` in every place where a client can put one. `upload` is a path on the server."""
    return [
        link,
        {"path": link},
        {"path": link, "url": link},
        {"path": link, "meta": META},
        {"path": link, "url": link, "meta": META, "orig_name": link, "mime_type": link},
        {"path": link, "meta": META, "is_stream": True},
        {"path": link, "meta": {"_type": link}},
        {"path": link, "meta": {}},
        {"path": None, "url": link, "meta": META},
        {"url": link, "meta": META},
        {"path": upload, "url": link, "orig_name": link, "meta": META},
        {"path": upload, "meta": {**META, "url": link, "path": link}},
        {"path": {"path": link, "meta": META}, "meta": META},
        {"video": {"path": link, "meta": META}, "subtitles": {"path": link, "meta": META}},
        [{"path": link, "meta": META}],
        {"path": f"/gradio_api/file={link}", "meta": META},
        {"path": f"/gradio_api/proxy={link}", "url": f"/gradio_api/proxy={link}", "meta": META},
        {"__type__": "update", "value": {"path": link, "meta": META}, "path": link},
    ]


def outside_files(outside: Path, upload: str) -> list[str]:
    """Names of a file outside the server's folders."""
    file = outside / "clip.mp4"
    relative = os.path.relpath(file, Path(upload).parent)
    return [str(file), f"file://{file}", f"file:{file}", f"{Path(upload).parent}/{relative}", os.path.relpath(file)]


def handlers(client: httpx.Client) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The kinds of the components, and an event for each handler: its others are the same to the server."""
    config = client.get("/config").json()
    first = {}
    for event in config["dependencies"]:
        first.setdefault((event["api_name"].rstrip("_0123456789"), *event["inputs"]), event)
    return {component["id"]: component["type"] for component in config["components"]}, list(first.values())


def fields_of(event: dict[str, Any], kinds: dict[int, str], file: Any, text: str, number: Any) -> list[Any]:
    """Values for the fields of an event."""
    by_kind = {
        **dict.fromkeys(("file", "video", "image"), file),
        **dict.fromkeys(("html", "number", "slider"), number),
        "textbox": text,
        "radio": "pyav",
        "checkbox": True,
    }
    return [by_kind[kinds[field]] for field in event["inputs"]]
