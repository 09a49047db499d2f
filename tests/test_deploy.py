"""The examples for nginx and Caddy: their paths are routes of the app, and their limits are those of the settings."""

import re
from pathlib import Path

import pytest

from longva_demo.server.bodies import MAX_FORM_BYTES, MAX_OTHER_BYTES
from longva_demo.settings import Settings
from tests.support.routes import app_routes

DEPLOY = Path(__file__).parents[1] / "deploy"
NGINX, CADDY = ((DEPLOY / name).read_text("utf-8") for name in ("nginx.conf", "Caddyfile"))
MIB, MB = 2**20, 10**6


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """The app's routes."""
    return {route.path for route in app_routes()}


def nginx_locations() -> dict[str, str]:
    """The directives of each location, by its pattern as a regular expression."""
    found = re.findall(r"^    location (=|~)? ?(\S+) \{\n(.*?)^    \}", NGINX, re.MULTILINE | re.DOTALL)
    return {path if kind == "~" else "^" + re.escape(path) + "$" * (kind == "="): body for kind, path, body in found}


def test_the_paths_are_routes_of_the_app(paths: set[str]) -> None:
    locations = nginx_locations()
    assert len(locations) == 6, locations
    for pattern in locations:
        for one in re.sub(r"(.*)\((.*)\)", r"\2", pattern).split("|"):
            start = pattern.partition("(")[0] + one if "(" in pattern else pattern
            assert any(re.match(start, path) for path in paths), start
    named = " ".join(re.findall(r"@\w+ (?:not )?path (/.+)", CADDY)).split()
    for path in named:
        assert path in paths or any(one.startswith(path.removesuffix("*")) for one in paths), path


@pytest.mark.parametrize(
    "stream",
    [
        "/gradio_api/queue/data",
        "/gradio_api/heartbeat/{session_hash}",
        "/gradio_api/call/{api_name}/{event_id}",
        "/gradio_api/upload_progress",
        "/longva/frames/{token}",
        "/v1/chat/completions",
        "/v1/responses",
        "/mcp",
    ],
)
def test_streams_are_not_buffered(stream: str, paths: set[str]) -> None:
    assert stream in paths
    (location,) = (body for pattern, body in nginx_locations().items() if pattern != "^/" and re.match(pattern, stream))
    assert "proxy_buffering off;" in location
    assert "flush_interval -1" in CADDY


def test_bodies_are_limited_as_by_the_settings() -> None:
    """A little more than the app itself, whose message is better, but less than twice as much."""
    largest = Settings().max_file_bytes + MAX_FORM_BYTES
    general, upload, programs = (int(size) * MIB for size in re.findall(r"client_max_body_size (\d+)m;", NGINX))
    assert "client_max_body_size" in nginx_locations()["^/gradio_api/upload$"]
    assert largest <= upload <= largest + MIB
    in_base64 = Settings().max_file_bytes * 4 / 3 + MAX_OTHER_BYTES
    assert in_base64 <= programs <= in_base64 + MIB
    assert MAX_OTHER_BYTES <= general < 2 * MAX_OTHER_BYTES
    upload, of_programs, general = (int(size) for size in re.findall(r"max_size (\d+)", CADDY))
    assert of_programs * MIB == programs
    assert largest <= upload * MIB <= largest + MIB
    assert MAX_OTHER_BYTES <= general * MB < 2 * MAX_OTHER_BYTES


def test_visitors_cannot_name_their_address() -> None:
    """nginx replaces the header; Caddy does so unless it is told which proxies to trust."""
    assert NGINX.count("proxy_set_header X-Forwarded-For $remote_addr;") == NGINX.count("X-Forwarded-For") == 1
    assert "proxy_add_x_forwarded_for" not in NGINX
    assert "trusted_proxies" not in CADDY


def test_metrics_are_not_public() -> None:
    assert "return 404;" in nginx_locations()["^/metrics"]
    assert "@metrics path /metrics\n" in CADDY
    assert "respond @metrics 404" in CADDY
