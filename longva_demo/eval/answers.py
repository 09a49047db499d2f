"""Questions of a benchmark: answered from one prefill per video, saved at once, and never asked again."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from dataclasses import dataclass as plain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from longva_demo.chat import ChatSession, Engine, Progress, Sampling
from longva_demo.eval.asking import FrameSampling, Media, Part, ask_all, ask_alone
from longva_demo.result_file import ResultFile, read_rows
from longva_demo.strict import STRICT

Key = tuple[str, str, str]  # task, split, and number of the document


@plain(frozen=True)
class Item:
    """One question of a benchmark.

    media: the path of its video, by which questions are grouped; "" for a picture, or a question without either.
    load: opens it when it is needed, so that thousands of pictures do not fill the memory.
    error: why it cannot be asked at all.
    """

    key: Key
    prompt: str
    sampling: Sampling
    media: str
    load: Callable[[], Media]
    error: str = ""


@dataclass(frozen=True, config=STRICT)
class Answer:
    """The answer to one question, or the error instead of it."""

    key: Key
    prompt: str
    media: str
    temperature: float
    top_p: float
    max_new_tokens: int
    answer: str = ""
    num_frames: int = 0
    num_tokens: int = 0
    prefilled: bool = False
    took_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""


ANSWERS: TypeAdapter[list[Answer]] = TypeAdapter(list[Answer])


class Answers:
    """`answers-RANK.jsonl` in a folder, one file per process. Each process reads all of them when it starts.

    Raises:
        DemoError: a file is from a different run or damaged, or the folder is not writable.
    """

    def __init__(self, folder: Path, head: dict[str, Any], rank: int = 0) -> None:
        self._file = ResultFile(folder / f"answers-{rank}.jsonl", head)
        rows = [row for path in sorted(folder.glob("answers-*.jsonl")) for row in read_rows(path, head)]
        self._known: dict[Key, Answer] = {}
        for answer in ANSWERS.validate_python(rows, strict=False):
            self._remember(answer)

    def find(self, item: Item) -> Answer | None:
        """The answer to the same prompt about the same video; None without one. Errors may have passed."""
        known = self._known.get(item.key)
        if known is None or known.error:
            return None
        return known if replace(known, **asked(item)) == known else None

    def add(self, answer: Answer) -> None:
        self._remember(answer)
        self._file.add(TypeAdapter(Answer).dump_python(answer, mode="json"))

    def all(self) -> list[Answer]:
        return list(self._known.values())

    def _remember(self, answer: Answer) -> None:
        known = self._known.get(answer.key)
        if known is None or known.error or not answer.error:
            self._known[answer.key] = answer


def answer_items(
    engine: Engine, frames: FrameSampling, items: Sequence[Item], answers: Answers
) -> Iterator[Progress | Answer]:
    """The answers to `items`, in groups by video; known ones first.

    Raises:
        ModelError: the model cannot be used any more.
    """
    groups: dict[object, list[Item]] = {}
    for item in items:
        if known := answers.find(item):
            yield known
        elif item.error:
            yield save(answers, Answer(**asked(item), error=item.error))
        else:
            groups.setdefault(item.media or item.key, []).append(item)
    for group in groups.values():
        for event in ask_all(engine, Part(group[0].load()), frames, group, ask):
            if isinstance(event, Progress):
                yield event
                continue
            item, outcome = event
            failed = Answer(**asked(item), error=str(outcome))
            yield save(answers, outcome if isinstance(outcome, Answer) else failed)


def asked(item: Item) -> dict[str, Any]:
    """The fields of the answer to `item` that are known before it is asked."""
    sampling = asdict(item.sampling)
    del sampling["json_schema"]  # not used here
    return {"key": item.key, "prompt": item.prompt, "media": item.media, **sampling}


def save(answers: Answers, answer: Answer) -> Answer:
    answers.add(answer)
    return answer


def ask(session: ChatSession, item: Item) -> Generator[Progress, None, Answer]:
    started = time.perf_counter()
    turn = yield from ask_alone(session, item.prompt, item.sampling)
    return Answer(
        **asked(item),
        answer=turn.answer.strip(),
        num_frames=session.source.num_frames if session.source is not None else 0,
        num_tokens=turn.stats.num_tokens,
        prefilled=not turn.stats.reused,
        took_seconds=round(time.perf_counter() - started, 3),
        notes=tuple(session.notes),
    )
