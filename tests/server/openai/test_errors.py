"""The contract of errors: each row is a request that is refused, with its status, param, code and words."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from longva_demo.errors import BudgetError, ModelError
from longva_demo.server.openai.errors import api_error, json_errors
from tests.server.openai.support import CHAT, EXAMPLES, RESPONSES, about, data_url
from tests.support.server import serving

KEY = "a key for programs"
USER = {"role": "user", "content": "What can you see?"}
CLIP, PICTURE = data_url(EXAMPLES / "motion.mp4"), data_url(EXAMPLES / "picture.png", "image/png")
NOTES = "data:video/mp4;base64," + base64.b64encode(b"not a video").decode()
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 7}}}
MEDIA = {"video": {"num_frames": -1}}


def content(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


ROWS: dict[str, tuple[dict[str, Any], int, str | None, str | None, str]] = {
    "another model": ({"model": "gpt-4o"}, 404, "model", "model_not_found", "'gpt-4o' does not exist here; use 'tiny'"),
    "no messages": ({"messages": []}, 400, "messages", None, "at least 1 item"),
    "only a system message": (
        {"messages": [{"role": "system", "content": "x"}]},
        400,
        "messages",
        None,
        "end with a question",
    ),
    "an answer last": (
        {"messages": [USER, {"role": "assistant", "content": "x"}]},
        400,
        "messages",
        None,
        "end with a question",
    ),
    "two questions": ({"messages": [USER, USER]}, 400, "messages[1].role", None, "must take turns"),
    "an answer first": (
        {"messages": [{"role": "assistant", "content": "x"}, USER]},
        400,
        "messages[0].role",
        None,
        "must take turns",
    ),
    "a tool's message": (
        {"messages": [{"role": "tool", "content": "x"}]},
        400,
        "messages[0].role",
        None,
        "'tool' is not supported; use user and assistant",
    ),
    "no question": ({"messages": [{"role": "user", "content": " "}]}, 400, "messages", None, "the question is empty"),
    "a long question": (
        {"messages": [{"role": "user", "content": "why " * 15_000}]},
        400,
        "messages",
        None,
        "60,000 characters; use 50,000 or fewer",
    ),
    "a full context": (
        {"messages": [USER, {"role": "assistant", "content": "7 " * 100_000}, USER]},
        400,
        "messages",
        "context_length_exceeded",
        "too many to answer",
    ),
    "sound": (
        content({"type": "input_audio", "input_audio": {"data": "AAAA"}}),
        400,
        "messages[0].content[0]",
        None,
        "'input_audio' is not supported; use text, image_url, video_url",
    ),
    "a part without data": (content(video("")), 400, "messages[0].content[0].video_url", None, "has no data"),
    "a URL": (content(video("https://example.org/a.mp4")), 400, "messages[0].content[0]", None, "send the file itself"),
    "a file's URL": (content(video("file:///etc/passwd")), 400, "messages[0].content[0]", None, "send the file itself"),
    "a path": (content(video("/etc/passwd.")), 400, "messages[0].content[0]", None, "not valid base64"),
    "two videos": (
        content(video(CLIP), video(CLIP), {"type": "text", "text": "x"}),
        400,
        "messages[0].content[0]",
        "too_many_files",
        "one of several files is a video; send one video, or pictures alone",
    ),
    "a picture and a video": (
        content(video(PICTURE), video(CLIP), {"type": "text", "text": "x"}),
        400,
        "messages[0].content[1]",
        "too_many_files",
        "one of several files is a video; send one video, or pictures alone",
    ),
    "many pictures": (
        content(*[video(PICTURE)] * 17, {"type": "text", "text": "x"}),
        400,
        "messages[0].content[16]",
        "too_many_files",
        "the conversation has 17 files; send one video, or up to 16 pictures",
    ),
    "no video": (content(video(NOTES), {"type": "text", "text": "x"}), 400, "messages", "invalid_file", "input file"),
    "no frames": ({"num_frames": 0}, 400, "num_frames", "integer_out_of_range", "num_frames is 0; use 1 to 2,000"),
    "many frames": ({"num_frames": 2001}, 400, "num_frames", "integer_out_of_range", "use 1 to 2,000"),
    "all frames": ({"media_io_kwargs": MEDIA}, 400, "num_frames", "integer_out_of_range", "use 1 to 2,000"),
    "half a frame": ({"num_frames": 1.5}, 400, "num_frames", None, "valid integer"),
    "frames as text": ({"num_frames": "8"}, 400, "num_frames", None, "valid integer"),
    "no time": (
        {"messages": about(CLIP, "x"), "start": "noon"},
        400,
        "start",
        None,
        "'noon' is not a valid time; use seconds (90) or h:mm:ss",
    ),
    "an end before the start": (
        {"messages": about(CLIP, "x"), "start": 2, "end": 1},
        400,
        "start",
        None,
        "is not after the start",
    ),
    "a start after the end": ({"messages": about(CLIP, "x"), "start": 900}, 400, "messages", "invalid_file", "s long"),
    "a high temperature": ({"temperature": 2.1}, 400, "temperature", None, "less than or equal to 2"),
    "a negative temperature": ({"temperature": -1}, 400, "temperature", None, "greater than or equal to 0"),
    "no top-p": ({"top_p": 0}, 400, "top_p", None, "greater than 0"),
    "no tokens": ({"max_tokens": 0}, 400, "max_tokens", None, "max_tokens is 0; use 1 to 4,096"),
    "fewer tokens": ({"max_completion_tokens": -2}, 400, "max_completion_tokens", None, "use 1 to 4,096"),
    "many stop texts": ({"stop": list("abcde")}, 400, "stop", None, "at most 4 items"),
    "two answers": ({"n": 2}, 400, "n", "unsupported_value", "one answer at a time"),
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_parameter", "cannot call tools"),
    "functions": ({"functions": [{}]}, 400, "functions", "unsupported_parameter", "cannot call functions"),
    "probabilities": ({"logprobs": True}, 400, "logprobs", "unsupported_parameter", "not returned"),
    "a bias": ({"logit_bias": {"1": 5}}, 400, "logit_bias", "unsupported_parameter", "cannot be changed"),
    "speech": ({"audio": {"voice": "x"}}, 400, "audio", "unsupported_parameter", "neither hears nor speaks"),
    "an impossible schema": (
        {"response_format": FORMAT},
        400,
        "response_format",
        "unsupported_value",
        "the JSON schema is not supported",
    ),
    "an unknown format": ({"response_format": {"type": "xml"}}, 400, "response_format.type", None, "'json_schema'"),
    "a missing schema": (
        {"response_format": {"type": "json_schema"}},
        400,
        "response_format",
        None,
        "the schema is missing",
    ),
    "an option of ours": ({"longva": {"attributions": True}}, 400, "longva.attributions", None, "not permitted"),
}


def check(reply: httpx.Response, status: int, param: str | None, code: str | None, words: str) -> None:
    assert reply.headers["content-type"].startswith("application/json")
    error = reply.json()["error"]
    assert words in error["message"]
    assert (reply.status_code, error["param"], error["code"]) == (status, param, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].isprintable()
    assert "Traceback" not in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("stream", [False, True])
def test_each_row_of_the_contract(address: str, row: str, stream: bool) -> None:
    """Streamed ones too: no word was sent yet."""
    fields, status, param, code, words = ROWS[row]
    body = {"model": "longva", "messages": [USER], "max_tokens": 4, "stream": stream, **fields}
    reply = httpx.post(address + CHAT, json=body, timeout=60)
    check(reply, status, param, code, words)
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "input", "input is missing"),
        ({"input": []}, "input", "at least 1 item"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]", "send messages"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id", "not stored"),
        ({"input": "x", "background": True}, "background", "not stored"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools", "cannot call tools"),
        ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format", "the schema is missing"),
        ({"input": ""}, "input", "the question is empty"),
        (
            {"input": "x", "text": {"format": {"type": "json_schema", "schema": {"type": "nothing"}}}},
            "text.format",
            "use a simpler one",
        ),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens", "use 1 to 4,096"),
    ],
)
def test_responses_that_are_refused(address: str, fields: dict[str, Any], param: str, words: str) -> None:
    reply = httpx.post(address + RESPONSES, json=fields, timeout=60)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert words in error["message"]


@pytest.mark.slow
def test_other_paths_and_models(address: str) -> None:
    for method, path in (("GET", "/v1/embeddings"), ("POST", "/v1/images/generations"), ("GET", CHAT), ("GET", "/v1/")):
        check(httpx.request(method, address + path, json={}), 404, None, "not_found", "use /v1/models")
    check(httpx.get(f"{address}/v1/models/gpt-4o"), 404, "model", "model_not_found", "does not exist here")


@pytest.mark.slow
def test_the_type_of_the_body_and_the_site(address: str) -> None:
    text = json.dumps({"messages": [USER]})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = httpx.post(address + CHAT, content=text, headers={"Content-Type": kind})
        check(reply, 400, None, None, "send Content-Type: application/json")
    for headers in ({"Origin": "https://example.org"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        reply = httpx.post(address + CHAT, json={"messages": [USER]}, headers=headers)
        check(reply, 403, None, None, "another site cannot send requests")
        assert not [name for name in reply.headers if name.startswith("access-control")]
    reply = httpx.post(
        address + CHAT, json={"messages": [USER], "max_tokens": 1}, headers={"Origin": address}, timeout=60
    )
    assert reply.status_code == 200


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a key and small limits. A local proxy forwards the IP addresses."""
    limits = {"LONGVA_MAX_FILE_BYTES": "100000", "LONGVA_MAX_QUESTIONS_PER_MINUTE": "2", "LONGVA_API_KEY": KEY}
    with serving(tmp_path_factory.mktemp("strict") / "log", "--model", "tiny", **limits) as address:
        yield address


def ask(address: str, sender: str, key: str = KEY, **fields: Any) -> httpx.Response:
    headers = {"X-Forwarded-For": sender, "Authorization": f"Bearer {key}"}
    body = {"messages": [USER], "max_tokens": 2, **fields}
    return httpx.post(address + CHAT, json=body, headers=headers, timeout=60)


@pytest.mark.slow
def test_the_key(strict: str) -> None:
    assert ask(strict, "10.0.0.1").status_code == 200
    for key in ("another", f"{KEY}x", KEY[:-1]):
        check(ask(strict, "10.0.0.2", key), 401, None, "invalid_api_key", "send Authorization: Bearer KEY")
    assert httpx.get(f"{strict}/v1/models").status_code == 401
    assert httpx.get(strict).status_code == 200  # the page needs no key


@pytest.mark.slow
def test_guessing_keys_is_limited(strict: str) -> None:
    """After 30 wrong keys not even the right one is accepted for a minute, so that it cannot be told apart."""
    headers = {"X-Forwarded-For": "10.0.0.3", "Authorization": "Bearer x"}
    with httpx.Client(headers=headers) as client:
        assert [client.get(f"{strict}/v1/models").status_code for _ in range(30)] == [401] * 30
        for key in ("x", KEY):
            reply = client.get(f"{strict}/v1/models", headers={"Authorization": f"Bearer {key}"})
            check(reply, 429, None, "rate_limit_exceeded", "the limit of 30 wrong keys per minute is reached")
    assert httpx.get(f"{strict}/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.slow
def test_a_stranger_is_answered_before_the_body_is_read(strict: str) -> None:
    host, port = strict.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 7000\r\nContent-Type: application/json\r\n"
        )
        connection.sendall(f"{head}\r\n{{".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.slow
def test_too_large_a_file(strict: str) -> None:
    large = "data:video/mp4;base64," + "A" * 1_200_000
    reply = ask(strict, "10.0.0.4", messages=about(large, "x"))
    check(reply, 413, None, "request_too_large", "the request exceeds the limit of 1 MB; send a smaller one")
    assert reply.json()["error"]["type"] == "invalid_request_error"
    reply = ask(strict, "10.0.0.4", messages=[{"role": "user", "content": "a b " * 260_000}])
    check(reply, 413, None, "request_too_large", "exceeds the limit of 1 MB")
    reply = ask(strict, "10.0.0.4", messages=[USER], metadata=[0] * 20_001)
    check(reply, 413, None, "request_too_large", "more than 20,000 values")


@pytest.mark.slow
def test_too_many_questions(strict: str) -> None:
    assert [ask(strict, "10.0.0.5").status_code for _ in range(2)] == [200, 200]
    reply = ask(strict, "10.0.0.5")
    check(reply, 429, None, "rate_limit_exceeded", "the limit of 2 questions per minute is reached")
    assert reply.json()["error"]["type"] == "rate_limit_error"
    assert ask(strict, "10.0.0.6").status_code == 200


@pytest.mark.slow
def test_the_password_covers_the_api_where_there_is_no_key(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--model", "tiny", LONGVA_PASSWORD="open sesame") as address:
        check(httpx.get(f"{address}/v1/models"), 401, None, "invalid_api_key", "this server has a password")
        with httpx.Client(base_url=address) as client:
            client.post("/login", data={"username": "longva", "password": "open sesame"})
            assert client.get("/v1/models").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"LONGVA_OPENAI_API": "off"}, {"SPACE_ID": "me/longva"}])
def test_it_can_be_off(tmp_path: Path, variables: dict[str, str]) -> None:
    with serving(tmp_path / "log", "--model", "tiny", **variables) as address:
        assert httpx.get(f"{address}/v1/models").status_code == 404
        assert httpx.post(address + CHAT, json={"messages": [USER]}).status_code in (404, 405)


def test_errors_of_the_model_and_the_budget() -> None:
    found = api_error(BudgetError("9 frames need more", "set a smaller budget", 4))
    assert (found.status, found.param, found.code) == (400, "num_frames", "context_length_exceeded")
    assert api_error(ModelError("it broke", "try again")).body["error"]["type"] == "server_error"


def test_an_unexpected_error_tells_and_logs_no_text(caplog: pytest.LogCaptureFixture) -> None:
    found = api_error(ZeroDivisionError("private words"))
    assert (found.status, found.body["error"]["type"]) == (500, "server_error")
    assert "private" not in found.message
    assert [record.getMessage() for record in caplog.records] == ["an API request failed"]


def test_refusals_of_other_parts_have_the_form() -> None:
    async def refuse(request: Request) -> Response:
        return PlainTextResponse("no; do better", int(request.path_params["status"]), {"Connection": "close"})

    async def stream(_: Request) -> Response:
        return StreamingResponse(iter(["a", "b"]), media_type="text/plain")

    routes = [Route("/v1/{status:int}", refuse), Route("/other/{status:int}", refuse), Route("/v1/stream", stream)]
    client = TestClient(Starlette(routes=routes, middleware=[json_errors()]))
    for status, kind, code in (
        (401, "authentication_error", "invalid_api_key"),
        (403, "permission_error", None),
        (408, "invalid_request_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", None),
    ):
        reply = client.get(f"/v1/{status}")
        assert reply.json()["error"] == {"message": "no; do better", "type": kind, "param": None, "code": code}
        assert (reply.status_code, reply.headers["connection"]) == (status, "close")
        assert client.get(f"/other/{status}").text == "no; do better"
    assert client.get("/v1/stream").text == "ab"
