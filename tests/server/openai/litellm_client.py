"""litellm against a server; it needs versions of packages that the demo does not use. Run by `make test-clients`.

python -m tests.server.openai.litellm_client PYTHON    # an interpreter that has litellm
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.server.openai.support import EXAMPLES, data_url
from tests.support.server import serving

WHICH_WAY, WHAT = "Which way does it move?", "What is in the picture?"


def check(address: str) -> None:
    """In the other interpreter: every form of a file, with both providers, whole and streamed."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it downloads a list of prices
    import litellm

    video, picture = data_url(EXAMPLES / "motion.mp4"), data_url(EXAMPLES / "picture.png", "image/png")
    files = {
        "video_url": ({"type": "video_url", "video_url": {"url": video}}, WHICH_WAY),
        "file": ({"type": "file", "file": {"file_data": video, "format": "video/mp4"}}, WHICH_WAY),
        "image_url": ({"type": "image_url", "image_url": picture}, WHAT),
    }
    for provider in ("openai", "hosted_vllm"):
        answers = {}
        for name, (file, question) in files.items():
            messages = [{"role": "user", "content": [file, {"type": "text", "text": question}]}]
            options = {"api_base": f"{address}/v1", "api_key": "any", "num_retries": 0, "max_retries": 0}
            options |= {"model": f"{provider}/longva", "messages": messages, "extra_body": {"num_frames": 16}}
            answers[name] = litellm.completion(**options).choices[0].message.content
            chunks = litellm.completion(**options, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert streamed == answers[name], (provider, name, streamed, answers[name])
        assert answers["video_url"] == answers["file"], answers
        assert all(answers.values()), answers
        print(provider, answers)


def main(python: str) -> int:
    """Start a server, and run `check` with the other interpreter."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "log", "--model", "tiny") as address:
        code = f"from tests.server.openai.litellm_client import check; check({address!r})"
        return subprocess.run([python, "-c", code], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
