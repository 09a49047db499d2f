"""LLaVA's JSON rows, images with conversations, as training tensors for LongVA."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from longva_demo.errors import DemoError, VideoError
from longva_demo.model import LongVAProcessor
from longva_demo.model.longva import IMAGE, VIDEO
from longva_demo.model.prompt import TAG
from longva_demo.video.still import image_size, open_image

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
ROLES = {"human": "user", "gpt": "assistant"}
IGNORED = -100  # label of tokens that are excluded from the loss
FORMAT = 'a list of {"image": path, "conversations": [{"from": "human" or "gpt", "value": text}, ...]}'
REMEDY = "fix it, or train without --strict to skip such rows"


class BadRow(ValueError):
    """A row that cannot be used for training; the message says why."""


def read_rows(path: Path) -> list[Any]:
    """Read the list in a JSON file, or one row per line of a .jsonl file.

    Raises:
        DemoError: the file cannot be read, or contains no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read ({error})", f"use {FORMAT}") from error
    if not isinstance(rows, list) or not rows:
        raise DemoError(f"{path} contains no rows", f"use {FORMAT}")
    return rows


def check_row(row: Any, images: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The image paths of a row and its turns, (role, text).

    Raises:
        BadRow: there is no conversation, speakers do not alternate, an image is missing, or tags and images do not
            match.
    """
    turns = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        raise BadRow("it has no conversations")
    parts = []
    for number, turn in enumerate(turns):
        speaker, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        expected = ("human", "gpt")[number % 2]
        if speaker != expected or not isinstance(text, str) or not text.strip():
            raise BadRow(f"turn {number + 1} is not a text from {expected!r}")
        parts.append((ROLES[speaker], text))
    if len(parts) % 2:
        raise BadRow("its last question has no answer")
    named = row.get("image") or []
    paths = [images / name for name in ([named] if isinstance(named, str) else named)]
    for path in paths:
        if not path.is_file():
            raise BadRow(f"there is no image {path}")
    tags = sum(text.count(TAG) for _, text in parts)
    if any(TAG in text for role, text in parts if role == "assistant"):
        raise BadRow(f"an answer contains {TAG}")
    if tags != len(paths):
        raise BadRow(f"it has {tags} {TAG} tags for {len(paths)} images")
    return paths, parts


class Conversations(Dataset):
    """One item per row: input_ids and labels (1, T), pixel_values (slots, 3, S, S), visual_slots (visuals, 2).

    The labels are the answers with their end-of-turn token. A row without an image gets a black frame after its end,
    where it cannot affect the loss. Every process then runs the same modules, which FSDP and DeepSpeed require.
    """

    def __init__(self, path: Path, images: Path, processor: LongVAProcessor, max_length: int, strict: bool) -> None:
        """Check all rows. Of images, only the header is read. Bad rows are skipped and listed in `skipped`.

        Raises:
            DemoError: no row can be used, or with `strict`, any row cannot.
        """
        self.skipped: list[str] = []
        self._processor = processor
        self._max_length = max_length
        self._strict = strict
        self._corrupt: set[str] = set()
        self._rows: list[tuple[str, list[Path], list[tuple[str, str]]]] = []
        for number, row in enumerate(read_rows(path), start=1):
            name = f"row {number}" + (f" ({row['id']})" if isinstance(row, dict) and "id" in row else "")
            name = f"{name} of {path.name}"
            try:
                paths, turns = check_row(row, images)
                self._check_length(paths, turns)
                self._rows.append((name, paths, turns))
            except BadRow as problem:
                self.skipped.append(f"{name}: {problem}")
        if self.skipped and strict:
            raise DemoError(self.skipped[0], REMEDY)
        if not self._rows:
            raise DemoError(f"no row of {path} can be used; {self.skipped[0]}", f"use {FORMAT}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        """The row at `place`, or the next usable one if an image is corrupt, so that a resumed run sees the same rows.

        Raises:
            DemoError: all rows have corrupt images, or with `strict`, this one does.
        """
        if not 0 <= place < len(self):
            raise IndexError(place)  # ends iteration over the rows
        for step in range(len(self)):
            name, paths, turns = self._rows[(place + step) % len(self)]
            try:
                stacks = [self._processor.preprocess_image(open_image(path)) for path in paths]
            except VideoError as problem:
                if self._strict:
                    raise DemoError(f"{name}: {problem.message}", REMEDY) from problem
                if name not in self._corrupt:
                    self._corrupt.add(name)
                    print(f"skipped: {name}: {problem.message}; using the next row instead", file=sys.stderr)
                continue
            return self._tensors(stacks, turns)
        raise DemoError("no row is left whose images can be read", "fix the images")

    def _tensors(self, stacks: list[np.ndarray], turns: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
        """Build an item from its images, uint8 (1 + grids, S, S, 3) each, and its turns."""
        counts = [self._processor.num_visual_tokens(IMAGE, len(pixels)) for pixels in stacks]
        kinds = [IMAGE] * len(stacks)
        ids, labels = self._encode(turns, counts)
        if not stacks:
            size = self._processor.image_size
            stacks, kinds = [np.zeros((1, size, size, 3), np.uint8)], [VIDEO]
            count = self._processor.num_visual_tokens(VIDEO, 1)
            ids, labels = ids + [self._processor.image_token_id] * count, labels + [IGNORED] * count
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "pixel_values": torch.cat([self._processor.normalise(pixels) for pixels in stacks]),
            "visual_slots": torch.tensor([[kind, len(pixels)] for kind, pixels in zip(kinds, stacks, strict=True)]),
        }

    def _check_length(self, paths: list[Path], turns: list[tuple[str, str]]) -> None:
        """Raises BadRow if a row is too long, or the header of an image cannot be read."""
        try:
            slots = [self._processor.image_processor.num_slots(image_size(path)) for path in paths]
        except VideoError as problem:
            raise BadRow(problem.message) from problem
        counts = [self._processor.num_visual_tokens(IMAGE, count) for count in slots]
        num_text = len(self._encode(turns, [0] * len(counts))[0])
        num_tokens = num_text + (sum(counts) or self._processor.num_visual_tokens(VIDEO, 1))
        if num_tokens > self._max_length:
            raise BadRow(f"it has {num_tokens:,} tokens, more than the limit of {self._max_length:,}")

    def _encode(self, turns: list[tuple[str, str]], counts: list[int]) -> tuple[list[int], list[int]]:
        """Ids and labels of a conversation; the i-th tag becomes counts[i] tokens. Typed special tokens stay text."""
        next_count = iter(counts)
        ids = self._processor.encode_text(SYSTEM, allow_special=True)
        labels = [IGNORED] * len(ids)
        end = self._processor.encode_text("<|im_end|>", allow_special=True)
        newline = self._processor.encode_text("\n")
        for role, text in turns:
            lead = self._processor.encode_text(f"<|im_start|>{role}\n", allow_special=True)
            body: list[int] = []
            for number, piece in enumerate(text.split(TAG)):
                body += [self._processor.image_token_id] * next(next_count) if number else []
                body += self._processor.encode_text(piece)
            ids += [*lead, *body, *end, *newline]
            learned = [*body, *end] if role == "assistant" else [IGNORED] * (len(body) + 1)
            labels += [IGNORED] * len(lead) + learned + [IGNORED] * len(newline)
        return ids, labels
