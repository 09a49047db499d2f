"""Requests as clients write them: what is read, what is ignored, and what is refused."""

import json
from typing import Any

import pytest

from longva_demo.chat import Sampling
from longva_demo.server.openai.conversation import check_model, read_turns
from longva_demo.server.openai.errors import ApiError
from longva_demo.server.openai.schema import ChatRequest, FilePart, ResponsesRequest, parse

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> ChatRequest:
    return parse(ChatRequest, json.dumps({"messages": HELLO, **fields}).encode())


def parts(*content: Any) -> list[Any]:
    return chat(messages=[{"role": "user", "content": list(content)}]).messages[0].content


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "DATA", "detail": "high"}},
        {"type": "image_url", "image_url": "DATA"},
        {"type": "video_url", "video_url": {"url": "DATA"}},
        {"type": "input_image", "image_url": "DATA"},
        {"type": "input_image", "image_url": {"url": "DATA"}},
        {"type": "input_video", "input_video": {"data": "DATA", "format": "mp4"}},
        {"type": "input_video", "input_video": {"url": "DATA"}},
        {"type": "input_video", "video_url": "DATA"},
        {"type": "video", "video": "DATA"},
        {"type": "video", "base64": "DATA", "mime_type": "video/mp4"},
        {"type": "video", "source_type": "base64", "data": "DATA"},
        {"type": "image", "url": "DATA"},
        {"type": "file", "file": {"file_data": "DATA", "filename": "my_file.pdf"}},
        {"type": "input_file", "filename": "clip.mp4", "file_data": "DATA"},
    ],
    ids=json.dumps,
)
def test_every_form_of_a_file(part: dict[str, Any]) -> None:
    [found] = parts(part)
    assert isinstance(found, FilePart)
    assert found.data == "DATA"


def test_what_clients_send_unasked_is_ignored() -> None:
    request = chat(
        seed=1, user="me", top_k=40, repeat_penalty=1, samplers=["dry"], logprobs=False, tools=[], functions=None,
        logit_bias={}, response_format={"type": "text"}, n=1, stream=None, temperature=None, stop=None, audio=None,
        messages=[{"role": "user", "content": "Hello", "tool_calls": None, "name": "me"}],
    )  # fmt: skip
    assert request.sampling(256) == Sampling(0.0, 1.0, 256)
    assert request.stops == []
    assert request.budget is None


def test_lengths_and_stop_texts() -> None:
    assert chat(max_tokens=5).sampling(256).max_new_tokens == 5
    assert chat(max_tokens=5, max_completion_tokens=6).sampling(256).max_new_tokens == 6
    assert chat(max_tokens=-1).sampling(256).max_new_tokens == 256
    assert chat(max_tokens=10**9).sampling(256).max_new_tokens == 4096
    assert chat(stop="\n").stops == ["\n"]
    assert chat(stop=["", "END"]).stops == ["END"]
    assert chat(media_io_kwargs={"video": {"num_frames": 9}}).budget == 9
    assert chat(media_io_kwargs={"video": {"num_frames": 9}}, num_frames=8).budget == 8


def test_a_conversation() -> None:
    request = chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "\ud83d\ude00"}]},
            {"role": "assistant", "content": "Two"},
            {"role": "developer", "content": "Be briefer."},
            {"role": "user", "content": [{"type": "image_url", "image_url": "X"}, {"type": "input_text", "text": "3"}]},
        ]
    )
    turns, question, files = read_turns(request.placed_messages, {})
    assert turns == (("One\n😀", "Two"),)
    assert question == "3"
    assert files == [("messages[4].content[0]", "X")]


@pytest.mark.parametrize(
    "given",
    [
        "One",
        [{"role": "user", "content": "One"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "One"}]}],
        [{"type": "reasoning", "id": "r", "summary": []}, {"role": "user", "content": "One"}],
    ],
)
def test_input_of_a_response(given: Any) -> None:
    request = parse(ResponsesRequest, json.dumps({"input": given, "instructions": "Be brief."}).encode())
    assert read_turns(request.placed_messages, {})[1] == "One"


def test_earlier_output_of_a_response() -> None:
    output = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    output["content"] = [{"type": "output_text", "text": "Two", "annotations": []}]  # type: ignore[assignment]
    given = [*HELLO, output, {"role": "user", "content": "Three"}]
    request = parse(ResponsesRequest, json.dumps({"input": given}).encode())
    assert read_turns(request.placed_messages, {})[:2] == ((("Hello", "Two"),), "Three")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b'{"messages": "\xff"}', None, "not valid JSON"),
        (b'{"messages": "\\ud800"}', None, "not valid JSON .*hex escape at line 1 column 21"),
        (b"[]", None, "the body is not valid"),
        (b'{"messages": []}', "messages", "at least 1 item, not 0"),
        (b'{"messages": [{"role": "user", "content": "x"}], "start": []}', "start", "start is not valid .use seconds"),
        (b'{"messages": [{"role": "user", "content": "x"}], "end": true}', "end", "end is not valid .use seconds"),
        (b'{"messages": [{"role": "user", "content": [{}]}]}', "messages[0].content[0]", "part without a type is"),
        (b"{}", "messages", "messages is missing"),
        (b'{"messages": 7}', "messages", "valid array"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "messages[0].content", "valid array"),
        (b'{"messages": [{"role": "user", "content": ["x"]}]}', "messages[0].content[0]", "not valid"),
        (b'{"messages": [{"role": 7, "content": "x"}]}', "messages[0].role", "valid string"),
    ],
)
def test_malformed_bodies(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        parse(ChatRequest, body)
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize("name", [None, "", "longva", "tiny"])
def test_names_of_the_model(name: str | None) -> None:
    check_model(name, "tiny")


def test_errors_are_one_short_line() -> None:
    with pytest.raises(ApiError) as caught:
        parts({"type": "x\n\x1b" * 5000})
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()
    with pytest.raises(ApiError) as caught:
        chat(model="y" * 5000, longva={"z\n" * 5000: 1})
    assert len(caught.value.message) <= 300
