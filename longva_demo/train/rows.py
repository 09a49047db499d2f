"""Rows of LLaVA's JSON, pictures with conversations, as the tensors that LongVA is trained on."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from longva_demo.errors import DemoError
from longva_demo.model import LongVAProcessor
from longva_demo.model.longva import IMAGE, VIDEO, VISUAL_TOKEN
from longva_demo.model.processor import TAG
from longva_demo.video.still import open_image

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
ROLES = {"human": "user", "gpt": "assistant"}
IGNORED = -100  # the label of what is not to be learned
FORM = 'a list of {"image": path, "conversations": [{"from": "human" or "gpt", "value": text}, ...]}'


class BadRow(ValueError):
    """A row that cannot be trained on; says why."""


def read_rows(path: Path) -> list[Any]:
    """The list in a JSON file, or a row a line in a .jsonl file.

    Raises:
        DemoError: the file cannot be read, or holds no list.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read ({error})", f"give {FORM}") from error
    if not isinstance(rows, list) or not rows:
        raise DemoError(f"{path} holds no rows", f"give {FORM}")
    return rows


def check_row(row: Any, images: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The pictures of a row and its turns, (role, text).

    Raises:
        BadRow: there is no conversation, speakers do not take turns, a picture is missing, or tags and pictures
            do not agree.
    """
    turns = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        raise BadRow("it has no conversations")
    parts = []
    for number, turn in enumerate(turns):
        speaker, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        wanted = ("human", "gpt")[number % 2]
        if speaker != wanted or not isinstance(text, str) or not text.strip():
            raise BadRow(f"turn {number + 1} is not a text from {wanted!r}")
        parts.append((ROLES[speaker], text))
    if len(parts) % 2:
        raise BadRow("its last question has no answer")
    named = row.get("image") or []
    paths = [images / name for name in ([named] if isinstance(named, str) else named)]
    for path in paths:
        if not path.is_file():
            raise BadRow(f"there is no picture {path}")
    tags = sum(text.count(TAG) for _, text in parts)
    if any(TAG in text for role, text in parts if role == "assistant"):
        raise BadRow(f"{TAG} stands in an answer")
    if tags != len(paths):
        raise BadRow(f"it has {tags} {TAG} for {len(paths)} pictures")
    return paths, parts


class Conversations(Dataset):
    """One row an item: input_ids and labels (1, T), pixel_values (slots, 3, S, S), visual_slots (visuals, 2).

    Labels are the answers with their end mark. A row without a picture gets a black frame after its end, where nothing
    of the loss can see it: every process then runs the same modules, as FSDP and DeepSpeed need.
    """

    def __init__(self, path: Path, images: Path, processor: LongVAProcessor, longest: int, strict: bool) -> None:
        """Bad rows are named in `skipped` and left out, or with `strict` refused.

        Raises:
            DemoError: no row can be used, or with `strict` one cannot.
        """
        self.skipped: list[str] = []
        self._processor = processor
        self._longest = longest
        self._rows: list[tuple[str, list[Path], list[tuple[str, str]]]] = []
        for number, row in enumerate(read_rows(path), start=1):
            name = f"row {number}" + (f" ({row['id']})" if isinstance(row, dict) and "id" in row else "")
            try:
                paths, turns = check_row(row, images)
                if self._num_text_tokens(turns) > longest:
                    raise BadRow(f"its text is longer than {longest:,} tokens")
                self._rows.append((name, paths, turns))
            except BadRow as problem:
                self.skipped.append(f"{name} of {path.name}: {problem}")
        if self.skipped and strict:
            raise DemoError(self.skipped[0], "mend it, or train without --strict to leave such rows out")
        if not self._rows:
            raise DemoError(f"no row of {path} can be used; {self.skipped[0]}", f"give {FORM}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        """Raises DemoError where a picture cannot be read, or makes the row too long."""
        name, paths, turns = self._rows[place]
        stacks = [self._processor.preprocess_image(open_image(path)) for path in paths]
        counts = [self._processor.num_visual_tokens(IMAGE, len(pixels)) for pixels in stacks]
        kinds = [IMAGE] * len(stacks)
        ids, labels = self._encode(turns, counts)
        if not stacks:
            size = self._processor.image_size
            stacks, kinds = [torch.zeros(1, size, size, 3, dtype=torch.uint8).numpy()], [VIDEO]
            count = self._processor.num_visual_tokens(VIDEO, 1)
            ids, labels = ids + [VISUAL_TOKEN] * count, labels + [IGNORED] * count
        if len(ids) > self._longest:
            raise DemoError(f"{name} is {len(ids):,} tokens long, the limit is {self._longest:,}", "take it out")
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "pixel_values": torch.cat([self._processor.normalise(pixels) for pixels in stacks]),
            "visual_slots": torch.tensor([[kind, len(pixels)] for kind, pixels in zip(kinds, stacks, strict=True)]),
        }

    def _encode(self, turns: list[tuple[str, str]], counts: list[int]) -> tuple[list[int], list[int]]:
        """Ids and labels of a conversation whose i-th tag stands for counts[i] tokens. Typed marks stay text."""
        left = iter(counts)
        ids = self._processor.encode_text(SYSTEM, allow_special=True)
        labels = [IGNORED] * len(ids)
        end = self._processor.encode_text("<|im_end|>", allow_special=True)
        newline = self._processor.encode_text("\n")
        for role, text in turns:
            lead = self._processor.encode_text(f"<|im_start|>{role}\n", allow_special=True)
            body: list[int] = []
            for number, piece in enumerate(text.split(TAG)):
                body += [VISUAL_TOKEN] * next(left) if number else []
                body += self._processor.encode_text(piece)
            ids += [*lead, *body, *end, *newline]
            learned = [*body, *end] if role == "assistant" else [IGNORED] * (len(body) + 1)
            labels += [IGNORED] * len(lead) + learned + [IGNORED] * len(newline)
        return ids, labels

    def _num_text_tokens(self, turns: list[tuple[str, str]]) -> int:
        return len(self._encode(turns, [0] * sum(text.count(TAG) for _, text in turns))[0])
