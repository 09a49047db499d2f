"""Sticky chats on vLLM replicas of the built-in model, on the CPU: one replica and two behind the router.

    python -m bench.cluster          # after make build/venv-vllm/installed; takes some minutes

Fails if an answer differs from that of the model in this process, or if second questions find less than 95 % of their
prompts in the prefix cache. On a machine with few cores, two replicas share them: the ratio says nothing about GPUs.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from longva_demo.chat import ChatSession, Engine, LocalEngine, Sampling, VideoSource
from longva_demo.chat.remote import RemoteEngine
from longva_demo.model import load
from longva_demo.page.components.gallery import EXAMPLES_FOLDER
from longva_demo.settings import Settings
from longva_demo.video import plan_frames, probe
from tests.support.cluster import ROOT, Cluster, empty_folder

NUM_CHATS = 16
# Each chat has one frame more than the one before it, so that none shares its prefix. On a CPU, vLLM caches blocks of
# 128 tokens, so up to 127 tokens of a prompt are always computed again.
MIN_FRAMES = 256
QUESTIONS = ("Which digit is shown?", "What do you see first?")
SAMPLING = Sampling(max_new_tokens=32)
MIN_HITS = 0.95


def open_chats(engine: Engine, stack: ExitStack) -> list[ChatSession]:
    info = probe(EXAMPLES_FOLDER / "needle.mp4")
    chats = [stack.enter_context(closing(ChatSession(engine))) for _ in range(NUM_CHATS)]
    for number, chat in enumerate(chats):
        chat.set_source(VideoSource(info, plan_frames(info, MIN_FRAMES + number), engine.processor))
    return chats


def ask_all(chats: Sequence[ChatSession], question: str, num_threads: int) -> float:
    """All chats ask at the same time. Returns the seconds until all are answered."""
    started = time.perf_counter()

    def ask(chat: ChatSession) -> None:
        for _ in chat.ask(question, SAMPLING):
            pass

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(ask, chats))
    return time.perf_counter() - started


def answers(chats: Sequence[ChatSession]) -> list[list[tuple[int, ...]]]:
    return [[turn.ids for turn in chat.turns] for chat in chats]


def tokens(engine: RemoteEngine) -> tuple[float, float]:
    """Of all prompts so far, and those that were cached."""
    values = {figure.name: figure.values for figure in engine.figures()}
    return values["engine_prompt_tokens"][""], values["engine_cached_tokens"][""]


def measure(num_replicas: int, expected: list[list[tuple[int, ...]]]) -> tuple[float, bool]:
    """Seconds of all first questions, and whether answers and cache hits are as they should be."""
    folder = empty_folder(ROOT / "build" / f"bench-cluster-{num_replicas}")
    with Cluster(folder, num_replicas=num_replicas) as cluster, ExitStack() as stack:
        engine = RemoteEngine.connect(Settings(engine=cluster.address))
        chats = open_chats(engine, stack)
        first = ask_all(chats, QUESTIONS[0], NUM_CHATS)
        sent, cached = tokens(engine)
        second = ask_all(chats, QUESTIONS[1], NUM_CHATS)
        sent, cached = (after - before for after, before in zip(tokens(engine), (sent, cached), strict=True))
        right = sum(given == right for given, right in zip(answers(chats), expected, strict=True))
        shares = " ".join(str(cluster.num_requests(number)) for number in range(num_replicas))
    hits = cached / sent
    print(
        f"| {num_replicas} | {right} of {NUM_CHATS} | {hits:.1%} | {first:.1f} | {second:.1f} | {shares} |", flush=True
    )
    return first, right == NUM_CHATS and hits >= MIN_HITS


def main() -> int:
    local = LocalEngine(load("tiny", device="cpu"), Settings())
    with ExitStack() as stack:
        chats = open_chats(local, stack)
        for question in QUESTIONS:
            ask_all(chats, question, num_threads=1)
        expected = answers(chats)
    print("| replicas | chats with right answers | cached of second prompts | first, s | second, s | requests |")
    print("|---|---|---|---|---|---|", flush=True)
    (one, is_one_good), (two, is_two_good) = (measure(count, expected) for count in (1, 2))
    print(f"\nThroughput of two replicas, relative to one: {one / two:.2f}")
    return 0 if is_one_good and is_two_good else 1


if __name__ == "__main__":
    sys.exit(main())
