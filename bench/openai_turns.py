"""The first and the second turn over the OpenAI-compatible API: seconds to the first word.

The client sends the whole conversation each time, the video included. The second turn finds it in the prefix cache.
Each round has a clip of its own. Run it with `python -m bench.openai_turns`.
"""

import argparse
import base64
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.clips import write_clip
from tests.support.server import serving

QUESTIONS = ("What colour is the background?", "What shape is in the video?")


def ask(client: httpx.Client, messages: list[dict[str, Any]], num_frames: int) -> tuple[float, str, dict[str, Any]]:
    """Seconds to the first word, the answer, and what the answer says about itself."""
    body = {"messages": messages, "num_frames": num_frames, "stream": True}
    started, first, text = time.perf_counter(), 0.0, ""
    facts: dict[str, Any] = {}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            text += chunk["choices"][0]["delta"].get("content") or ""
            if text and not first:
                first = time.perf_counter() - started
            facts = chunk.get("longva", facts)
    return first, text, facts


def two_turns(client: httpx.Client, clip: Path, num_frames: int) -> tuple[float, float]:
    """Seconds to the first word of each turn."""
    url = f"data:video/mp4;base64,{base64.b64encode(clip.read_bytes()).decode()}"
    parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": QUESTIONS[0]}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
    first, answer, facts = ask(client, messages, num_frames)
    assert (facts["prefix_cache"], len(facts["frames"])) == ("miss", num_frames), facts["prefix_cache"]
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": QUESTIONS[1]}]
    second, _, facts = ask(client, messages, num_frames)
    assert facts["prefix_cache"] == "hit", facts["prefix_cache"]
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(log, "--model", "tiny") as address, httpx.Client(base_url=address, timeout=600) as client:
            for number in range(options.rounds):
                clip = Path(folder) / f"{number}.mp4"
                write_clip(clip, options.frames / 10, 10, 640 + 16 * number, 360)
                pairs.append(two_turns(client, clip, options.frames))
                print(f"round {number + 1}: first turn {pairs[-1][0]:.2f} s, second turn {pairs[-1][1]:.3f} s")
    first, second = (median(column) for column in zip(*pairs, strict=True))
    print(f"{options.frames} frames: {first:.2f} s, then {second:.3f} s; that is {first / second:.0f} × as fast")


if __name__ == "__main__":
    main()
