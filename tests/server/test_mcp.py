"""MCP over both transports, with its own client: what an agent does, step by step."""

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image

from tests.server.openai.support import EXAMPLES, data_url
from tests.support.clips import write_clip
from tests.support.server import serving

pytestmark = pytest.mark.slow
NEEDLE, DIGIT = EXAMPLES / "needle.mp4", "Which digit is shown?"
Use = Callable[[Client], Awaitable[None]]
Run = Callable[[Use], None]
Named = Callable[[Path], str]


@pytest.fixture(scope="module")
def mcp_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = {f"LONGVA_MAX_{what}_PER_MINUTE": "10000" for what in ("QUESTIONS", "EVENTS")}
    with serving(tmp_path_factory.mktemp("mcp") / "log", "--model", "tiny", LONGVA_MCP="on", **limits) as address:
        yield address


@pytest.fixture(scope="module")
def over_stdio() -> Iterator[Run]:
    """Runs steps with a client of `longva-demo mcp`; one process for all tests."""
    command = ["-m", "longva_demo", "mcp", "--model", "tiny"]
    client = Client(stdio_client(StdioServerParameters(command=sys.executable, args=command)))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client) as opened:
        yield lambda use: portal.call(use, opened)


@pytest.fixture
def over_http(mcp_address: str) -> Run:
    def run(use: Use) -> None:
        async def go() -> None:
            async with Client(f"{mcp_address}/mcp") as client:
                await use(client)

        asyncio.run(go())

    return run


@pytest.fixture(params=["http", "stdio"])
def transport(request: pytest.FixtureRequest) -> tuple[Run, Named]:
    """Runs steps with a client of this transport; and how it names a video."""
    return request.getfixturevalue(f"over_{request.param}"), data_url if request.param == "http" else str


async def call(client: Client, name: str, /, **arguments: Any) -> str:
    """The text of a result that is not an error."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return "\n".join(part.text for part in result.content if part.type == "text")


async def refused(client: Client, name: str, /, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, result.content
    [part] = result.content
    return str(part.text)


def test_look_coarsely_then_closely(transport: tuple[Run, Named]) -> None:
    run, named = transport
    video = named(NEEDLE)

    async def use(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        found = {"ask_video", "look_closer", "find_moments", "find_words"}
        assert set(tools) == {"video_info", "sample_frames", *found}
        assert all(tool.description for tool in tools.values())
        assert set(tools["look_closer"].input_schema["required"]) == {"question", "video", "start", "end"}

        facts = json.loads(await call(client, "video_info", video=video))
        assert (facts["kind"], facts["codec"]) == ("video", "h264")

        result = await client.call_tool("sample_frames", {"video": video, "num_frames": 9, "end": facts["duration"]})
        image, text = result.content
        with Image.open(io.BytesIO(base64.b64decode(image.data))) as sheet:
            assert (sheet.format, sheet.width % 3, sheet.height % 3) == ("JPEG", 0, 0)
        assert text.text.count("\nframe ") == 9

        seen: list[tuple[float, float | None]] = []

        async def progress(done: float, total: float | None, _message: str | None) -> None:
            seen.append((done, total))

        arguments = {"question": DIGIT, "video": video, "num_frames": 200, "attribution": True}
        result = await client.call_tool("ask_video", arguments, progress_callback=progress)
        answer = result.content[0].text
        assert "[The model was given 200 frames from 0:00.0 to " in answer
        assert "[The answer relied on the frames at " in answer
        assert any(total == 200 for _, total in seen)
        second = answer.partition("relied on the frames at ")[2].partition(".]")[0].split(", ")[0]
        minutes, _, seconds = second.partition(":")
        at = 60 * int(minutes) + float(seconds)

        closer = await call(client, "look_closer", question=DIGIT, video=video, start=max(0, at - 1), end=at + 1)
        assert closer.splitlines()[0] == answer.splitlines()[0]

        lines = await call(client, "find_moments", query="a digit", video=video, num_frames=64)
        assert "frames were looked at, each on its own" in lines

    run(use)


def test_a_picture(transport: tuple[Run, Named]) -> None:
    run, named = transport
    picture = named(EXAMPLES / "picture.png")

    async def use(client: Client) -> None:
        facts = json.loads(await call(client, "video_info", video=picture))
        assert facts["kind"] == "picture"
        assert await call(client, "ask_video", question="What is in the picture?", video=picture)
        assert "ask about it with ask_video" in await refused(client, "sample_frames", video=picture)

    run(use)


def test_errors_say_what_to_do(transport: tuple[Run, Named], tmp_path: Path) -> None:
    run, named = transport
    video, notes = named(NEEDLE), tmp_path / "notes.mp4"
    notes.write_text("not a video")

    async def use(client: Client) -> None:
        ask: dict[str, Any] = {"question": DIGIT, "video": video}
        for name, arguments, words in (
            ("ask_video", {**ask, "question": " "}, "the question is empty"),
            ("ask_video", {**ask, "num_frames": 0}, "use 1 to 2,000"),
            ("ask_video", {**ask, "start": "noon"}, "use seconds (90) or h:mm:ss"),
            ("look_closer", {**ask, "start": 3, "end": 2}, "is not after the start"),
            ("look_closer", {**ask, "start": 900, "end": 901}, "choose a start within the video"),
            ("sample_frames", {"video": video, "num_frames": 65}, "use 1 to 64"),
            ("video_info", {"video": named(notes)}, "not"),
            ("video_info", {}, "video is missing"),
            ("video_info", {"video": 5}, "video is not valid (Input should be a valid string)"),
            ("look_closer", {**ask, "start": [], "end": 1}, "start is not valid (use seconds (90) or h:mm:ss)"),
        ):
            text = await refused(client, name, **arguments)
            assert words in text
            assert "Traceback" not in text
            assert "\n" not in text
            assert len(text) < 400

    run(use)


def test_files_that_are_refused(mcp_address: str) -> None:
    """Over HTTP there are no paths and no addresses."""

    async def use() -> None:
        async with Client(f"{mcp_address}/mcp") as client:
            for video in ("/etc/passwd.", str(NEEDLE), "file:///etc/passwd", "https://example.org/a.mp4"):
                assert await refused(client, "video_info", video=video)

    asyncio.run(use())


def test_a_missing_file(over_stdio: Run) -> None:
    async def use(client: Client) -> None:
        assert "No such file or directory" in await refused(client, "video_info", video="/no/such.mp4")

    over_stdio(use)


def metric(address: str, name: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_cancelled_call_stops_the_model(mcp_address: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=200)

    async def use() -> None:
        async with Client(f"{mcp_address}/mcp") as client:
            arguments = {"question": DIGIT, "video": data_url(clip), "num_frames": 1900}
            task = asyncio.create_task(client.call_tool("ask_video", arguments))
            until = time.monotonic() + 30
            while not metric(mcp_address, "longva_questions_running"):
                assert time.monotonic() < until, "the question did not begin"
                await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while metric(mcp_address, "longva_questions_running"):
                assert time.monotonic() < until, "the question goes on"
                await asyncio.sleep(0.1)

    asyncio.run(use())
    assert metric(mcp_address, 'longva_questions_total{outcome="stopped"}') >= 1


def test_other_sites_and_strangers(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "--model", "tiny", LONGVA_MCP="on", LONGVA_API_KEY="a key") as address:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream"}
        assert httpx.post(f"{address}/mcp", json=body, headers=accept).status_code == 401
        headers = {**accept, "Authorization": "Bearer a key"}
        for foreign in ({"Origin": "https://example.org"}, {"Sec-Fetch-Site": "cross-site"}):
            assert httpx.post(f"{address}/mcp", json=body, headers={**headers, **foreign}).status_code == 403
        assert httpx.post(f"{address}/mcp", json=body, headers=headers).status_code in (200, 400)
