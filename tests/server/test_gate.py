"""Who may send a request, with and without a password; and the headers of every answer."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.server import gate
from longva_demo.server.gate import Gate, is_foreign
from longva_demo.server.rate_limit import address_name
from tests.support.server import serving

PASSWORD, TOKEN = "open sesame", "for prometheus"
LOGIN = {"username": "longva", "password": PASSWORD}
# Whatever the server answers, in Gradio's routes, FastAPI's and ours, and routes that do not exist.
GETS = (
    "/config",
    "/openapi.json",
    "/docs",
    "/metrics",
    "/theme.css",
    "/manifest.json",
    "/static/img/logo.svg",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/app_id",
    "/gradio_api/file=app.py",
    "/gradio_api/queue/data?session_hash=a",
    "/gradio_api/heartbeat/a",
    "/longva/frames/a",
    "/monitoring/a",
    "/logout/../config",
    "/healthz/more",
    "/nothing",
)
POSTS = (
    "/gradio_api/upload",
    "/gradio_api/queue/join",
    "/gradio_api/call/chat",
    "/gradio_api/run/predict",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/longva/leave/a",
    "/nothing",
)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a password and a token for its metrics."""
    log = tmp_path_factory.mktemp("locked") / "log"
    with serving(log, LONGVA_MODEL="tiny", LONGVA_PASSWORD=PASSWORD, LONGVA_METRICS_TOKEN=TOKEN) as address:
        yield address


def test_only_the_login_and_the_health_answer_strangers(locked: str) -> None:
    for path in GETS:
        assert httpx.get(locked + path).status_code == 401, path
    for path in POSTS:
        assert httpx.post(locked + path, json={}).status_code == 401, path
    assert httpx.get(f"{locked}/healthz").status_code == 200
    assert "<form>" in httpx.get(locked).text
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert "longva_pages" in httpx.get(f"{locked}/metrics", headers=headers).text
    assert httpx.get(f"{locked}/config", headers=headers).status_code == 401


def test_a_stranger_is_answered_before_the_body_is_read(locked: str) -> None:
    host, port = locked.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 7000000\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_log_in_is_small(locked: str) -> None:
    host, port = locked.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 20000\r\n\r\n"
        connection.sendall(head.encode())
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert reply.endswith(b"the request exceeds the limit of 10 kB; send a smaller one")


def test_a_log_out_ends_one_log_in(locked: str) -> None:
    with httpx.Client(base_url=locked) as one, httpx.Client(base_url=locked) as other:
        for client in (one, other):
            assert client.post("/login", data=LOGIN).status_code == 200
            assert client.get("/config").status_code == 200
        assert one.get("/logout").status_code == 405
        assert one.get("/config").status_code == 200
        assert one.post("/logout").status_code == 204
        assert one.get("/config").status_code == 401
        assert other.get("/config").status_code == 200


@pytest.mark.parametrize("origin", ["https://example.org", "null", "http://127.0.0.1:1"])
def test_other_sites_cannot_use_a_log_in(locked: str, origin: str) -> None:
    with httpx.Client(base_url=locked, headers={"Origin": origin}) as client:
        assert client.post("/login", data=LOGIN).status_code == 403
        del client.headers["Origin"]
        assert client.post("/login", data=LOGIN).status_code == 200
        client.headers["Origin"] = origin
        read = client.get("/config")
        assert not [name for name in read.headers if name.startswith("access-control")]
        preflight = client.options("/config", headers={"Access-Control-Request-Method": "POST"})
        assert not [name for name in preflight.headers if name.startswith("access-control")]
        for path in POSTS:
            assert client.post(path, json={}).status_code == 403, path
        assert (
            client.get("/config", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}).status_code == 403
        )
        client.headers["Origin"] = locked
        assert client.post("/gradio_api/reset", json={}).status_code != 403


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", {}, False),  # no browser
        ("POST", {"origin": "https://demo.example"}, False),
        ("POST", {"origin": "https://demo.example:8443"}, True),
        ("POST", {"origin": "https://public.example", "x-forwarded-host": "public.example"}, False),
        ("POST", {"origin": "null"}, True),
        ("POST", {"origin": "http://["}, True),
        ("POST", {"origin": ""}, True),
        ("POST", {"origin": "https://public.example", "sec-fetch-site": "same-origin"}, False),  # behind a proxy
        ("POST", {"sec-fetch-site": "same-site"}, True),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),  # a form of another site
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),  # a link
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True),  # an image
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, False),  # typed into the address bar
        ("GET", {"origin": "https://example.org"}, False),  # it cannot read the answer
    ],
)
def test_foreign_requests(method: str, headers: dict[str, str], expected: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in {"host": "demo.example", **headers}.items()]
    assert is_foreign(Request({"type": "http", "method": method, "path": "/", "headers": raw})) is expected


def test_no_route_fetches_an_address(address: str) -> None:
    asked: list[str] = []

    class Neighbour(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as neighbour:
        threading.Thread(target=neighbour.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{neighbour.server_port}/clip.mp4"
        for value in (
            f"http://{target}",
            f"HTTP://{target}",
            f"%68ttp://{target}",
            f" http://{target}",
            f"http:/{target}",
        ):
            for route in ("file=", "file/", "proxy="):
                for method in ("GET", "HEAD"):
                    reply = httpx.request(method, f"{address}/gradio_api/{route}{value}")
                    assert reply.status_code == 403, (method, route, value)
        neighbour.shutdown()
    assert asked == []


def test_the_headers_of_every_answer(address: str, locked: str) -> None:
    for url in (address, locked, f"{address}/healthz", f"{address}/nothing", f"{locked}/config"):
        headers = httpx.get(url).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    for page in (address, locked):
        policy = httpx.get(page).headers["content-security-policy"]
        assert "frame-ancestors 'self'" in policy
        assert "https:" not in policy


def test_the_hub_may_show_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "me/longva")
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in gate.content_policy()


@pytest.mark.parametrize(
    ("token", "sent", "status"),
    [("", "", 200), (TOKEN, "", 401), (TOKEN, "Bearer wrong", 401), (TOKEN, f"Bearer {TOKEN}", 200)],
)
def test_an_open_server_may_have_closed_metrics(token: str, sent: str, status: int) -> None:
    middleware = [Middleware(Gate, has_password=False, metrics_token=token)]
    app = Starlette(routes=[Route("/metrics", lambda _: PlainTextResponse("counts"))], middleware=middleware)
    app.cookie_id, app.tokens = "a", {}  # type: ignore[attr-defined]  # as Gradio's app has
    assert TestClient(app).get("/metrics", headers={"Authorization": sent}).status_code == status


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("a proxy", "a proxy"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, name: str) -> None:
    assert address_name({"client": (address, 1)}) == f"address {name}"
