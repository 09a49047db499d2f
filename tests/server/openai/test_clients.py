"""The clients that people use: openai and langchain-openai. litellm_client.py tests another, by `make test-clients`."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.server.openai.support import EXAMPLES, about, data_url

pytestmark = pytest.mark.slow
VIDEO, PICTURE = data_url(EXAMPLES / "motion.mp4"), data_url(EXAMPLES / "picture.png", "image/png")
WHICH_WAY, WHAT = "Which way does it move?", "What is in the picture?"
FRAMES = {"num_frames": 16}


@pytest.fixture(scope="module")
def expected(address: str) -> Callable[..., str]:
    """What plain HTTP gets."""

    def ask(*messages: Any) -> str:
        body = {"messages": list(messages), **FRAMES}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()
        return str(reply["choices"][0]["message"]["content"])

    return ask


class TestOpenAi:
    @pytest.fixture
    def client(self, address: str) -> Any:
        from openai import OpenAI

        return OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

    def test_chat(self, client: Any, expected: Callable[..., str]) -> None:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("longva").id == "tiny"
        messages = about(VIDEO, WHICH_WAY)
        found = client.chat.completions.create(model="longva", messages=messages, extra_body=FRAMES, temperature=0)
        assert found.choices[0].message.content == expected(*messages)
        assert found.usage.prompt_tokens_details.cached_tokens >= 0
        assert len(found.longva["frames"]) == 16

    def test_a_stream(self, client: Any, expected: Callable[..., str]) -> None:
        messages, options = about(VIDEO, WHICH_WAY), {"include_usage": True}
        create = client.chat.completions.create
        chunks = list(create(model="longva", messages=messages, extra_body=FRAMES, stream=True, stream_options=options))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == expected(*messages)
        assert chunks[-1].usage.total_tokens > 0
        assert chunks[-2].choices[0].finish_reason == "stop"

    def test_a_file(self, client: Any, expected: Callable[..., str]) -> None:
        file = {"type": "file", "file": {"file_data": VIDEO, "filename": "motion.mp4"}}
        messages = [{"role": "user", "content": [file, {"type": "text", "text": WHICH_WAY}]}]
        found = client.chat.completions.create(model="longva", messages=messages, extra_body=FRAMES)
        assert found.choices[0].message.content == expected(*about(VIDEO, WHICH_WAY))

    def test_responses(self, client: Any, expected: Callable[..., str]) -> None:
        parts = [{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": WHAT}]
        given = [{"role": "user", "content": parts}]
        found = client.responses.create(model="longva", input=given)
        assert found.output_text == expected(*about(PICTURE, WHAT, "image_url"))
        assert found.usage.input_tokens_details.cached_tokens >= 0
        follow_up = [*given, *found.output, {"role": "user", "content": "Are you sure?"}]
        assert client.responses.create(model="longva", input=follow_up).output_text

    def test_a_stream_of_a_response(self, client: Any, expected: Callable[..., str]) -> None:
        question = {"role": "user", "content": "What can you do?"}
        with client.responses.stream(model="longva", input=[question]) as stream:
            deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(deltas) == final.output_text == expected(question)
        assert final.status == "completed"

    def test_errors(self, client: Any) -> None:
        from openai import BadRequestError, NotFoundError

        with pytest.raises(NotFoundError) as missing:
            client.chat.completions.create(model="gpt-4o", messages=about(VIDEO, "x"))
        assert missing.value.code == "model_not_found"
        with pytest.raises(BadRequestError) as refused:
            client.chat.completions.create(model="longva", messages=about("https://example.org/a.mp4", "x"))
        assert refused.value.param == "messages[0].content[0]"


class TestLangchain:
    @pytest.fixture
    def chat(self, address: str) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="longva", base_url=f"{address}/v1", api_key="any", max_retries=0, extra_body=FRAMES)

    @pytest.mark.parametrize(
        "block",
        [
            {"type": "video_url", "video_url": {"url": VIDEO}},
            {"type": "file", "base64": VIDEO.partition(",")[2], "mime_type": "video/mp4", "filename": "motion.mp4"},
        ],
        ids=lambda block: str(block["type"]),
    )
    def test_blocks(self, chat: Any, expected: Callable[..., str], block: dict[str, Any]) -> None:
        from langchain_core.messages import HumanMessage

        found = chat.invoke([HumanMessage([block, {"type": "text", "text": WHICH_WAY}])])
        assert found.content == expected(*about(VIDEO, WHICH_WAY))

    def test_a_stream(self, chat: Any) -> None:
        assert "".join(chunk.content for chunk in chat.stream("What can you do?"))
