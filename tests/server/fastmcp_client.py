"""fastmcp against the tools, over both transports; it needs versions of packages that the demo does not use.

python -m tests.server.fastmcp_client PYTHON    # an interpreter that has fastmcp; `make test-clients` runs it
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.server.openai.support import EXAMPLES, data_url
from tests.support.server import serving

VIDEO, DIGIT = EXAMPLES / "needle.mp4", "Which digit is shown?"
STDIO = ["-m", "longva_demo", "mcp", "--model", "tiny"]
TOOLS = {"video_info", "sample_frames", "ask_video", "look_closer", "find_moments", "find_words"}


async def use(client: Any, video: str) -> str:
    """What an agent does; returns the answer."""
    assert {tool.name for tool in await client.list_tools()} == TOOLS
    facts = await client.call_tool("video_info", {"video": video})
    assert '"h264"' in facts.content[0].text, facts
    sheet, times = (await client.call_tool("sample_frames", {"video": video, "num_frames": 9})).content
    assert (sheet.type, times.text.count("\nframe ")) == ("image", 9), times
    seen: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, _message: str | None) -> None:
        seen.append((done, total))

    arguments = {"question": DIGIT, "video": video, "num_frames": 200}
    answer = (await client.call_tool("ask_video", arguments, progress_handler=progress)).content[0].text
    assert "[The model was given 200 frames from " in answer, answer
    assert any(total == 200 for _, total in seen), seen
    closer = await client.call_tool("look_closer", {"question": DIGIT, "video": video, "start": 0, "end": 2})
    assert closer.content[0].text, closer
    refused = await client.call_tool("ask_video", {**arguments, "num_frames": 0}, raise_on_error=False)
    assert refused.is_error, refused
    assert "use 1 to 2,000" in refused.content[0].text, refused
    return str(answer)


async def check(address: str, own: str) -> None:
    """In the other interpreter; `own` is the one that has the demo."""
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    answers = []
    for transport, video in ((f"{address}/mcp", data_url(VIDEO)), (StdioTransport(own, STDIO), str(VIDEO))):
        async with Client(transport) as client:
            answers.append(await use(client, video))
    assert answers[0] == answers[1], answers
    print("fastmcp", answers[0].splitlines()[0])


def main(python: str) -> int:
    """Start a server, and run `check` with the other interpreter."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log", "--model", "tiny", LONGVA_MCP="on") as address,
    ):
        imports = "import asyncio; from tests.server.fastmcp_client import check"
        code = f"{imports}; asyncio.run(check({address!r}, {sys.executable!r}))"
        return subprocess.run([python, "-c", code], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
