"""A ZeroGPU Space without its GPU: `python -m tests.chat.zero_gpu_space VIDEO NUM_FRAMES QUESTION…`.

The package `spaces` is the real one: it asks SPACES_ZERO_DEVICE_API_URL for a GPU, forks a worker, and passes arguments
and events through its queues. Only the start of CUDA in the worker, and moving weights there, are left out. Prints one
JSON line per question.
"""

import spaces  # isort: skip (must come before torch)

import json
import sys
import threading
from pathlib import Path

import spaces.zero.torch
from spaces.zero import client

from longva_demo.chat import AdmissionQueue, ChatSession, LocalEngine, Sampling, TextDelta, VideoSource
from longva_demo.chat.answering import make_answerer
from longva_demo.chat.zero_gpu import is_zero_gpu
from longva_demo.errors import DemoError
from longva_demo.model import load
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe


def main(video: str, num_frames: str, *questions: str) -> None:
    assert is_zero_gpu()
    assert spaces.GPU
    spaces.zero.torch.init = lambda *_, **__: None  # there is no GPU
    spaces.zero.torch.move = lambda *_, **__: None
    client.startup_report()
    engine = LocalEngine(load("tiny", device="cpu"), Settings(), keep_features=True)
    ask = make_answerer(engine, AdmissionQueue(engine.prefill_times))
    session = ChatSession(engine)
    session.set_source(VideoSource(info := probe(Path(video)), plan_frames(info, int(num_frames)), engine.processor))
    for question in questions:
        try:
            events = list(ask(session, question, Sampling(max_new_tokens=24), False, threading.Event()))
        except DemoError as error:
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        streamed = "".join(event.text for event in events if isinstance(event, TextDelta))
        print(json.dumps({"answer": session.turns[-1].answer, "streamed": streamed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
