"""Train the language model: frame tokens and questions → answers."""

import math
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed
from torch.nn import functional
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.clips import Episode
from tools.tiny.episodes import EpisodeSource
from tools.tiny.frame_tokens import FramesToTokens
from tools.tiny.init import (
    add_layers,
    init_name_embeddings,
    init_previous_token_head,
    init_similarity_attention,
    init_symbol_head,
    init_word_embeddings,
    init_word_head,
)
from tools.tiny.network import CONTEXT_LENGTH, Codes, build_language_model
from tools.tiny.optim import Optimiser
from tools.tiny.stages import LanguageStage
from tools.tiny.text import IGNORE, Batch, Encoder
from tools.tiny.train_vision import SAVE_SECONDS, save


def positions(rng: random.Random, batch: Batch, skip_share: float) -> Tensor:
    """Position ids 0, 1, 2 …, sometimes with one or two skips, so that short sequences teach long distances.

    Isolated questions all start right after the frames, as each would alone. Returns (batch or 1, length).
    """
    length = batch.ids.shape[1]
    steps = torch.ones(length, dtype=torch.long)
    steps[0] = 0
    if rng.random() < skip_share:
        for _ in range(rng.randint(1, 2)):
            free = CONTEXT_LENGTH - int(steps.sum()) - 1
            skip = int(math.exp(rng.uniform(math.log(50), math.log(max(60, free)))))
            steps[rng.randrange(10, length)] += min(skip, max(0, free))
    ids = steps.cumsum(0)[None]
    if not batch.isolated:
        return ids
    ids = ids.expand_as(batch.ids).clone()
    begins = torch.zeros_like(batch.turn, dtype=torch.bool)
    begins[:, 1:] = batch.turn[:, 1:] != batch.turn[:, :-1]
    for row in range(len(ids)):
        starts = begins[row].nonzero().flatten().tolist()  # empty if nothing is asked
        for begin, end in pairwise([*starts, length]):
            ids[row, begin:end] += ids[row, starts[0]] - ids[row, begin].item()
    return ids


def answer_loss(
    model: Qwen2ForCausalLM, batch: Batch, frame_tokens: Tensor, position_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the answer tokens, and whether each is correct. Only these positions are projected."""
    embedded = model.model.embed_tokens(batch.ids)
    embedded = embedded.masked_scatter(batch.is_frame[..., None], frame_tokens.to(embedded.dtype))
    # transformers uses a dict of masks as it is. None is plain causal attention, even with skipped positions.
    masks = {"full_attention": batch.mask()}
    hidden = model.model(inputs_embeds=embedded, attention_mask=masks, position_ids=position_ids, use_cache=False)
    wanted = batch.labels != IGNORE
    logits = model.lm_head(hidden.last_hidden_state[wanted])
    labels = batch.labels[wanted]
    return functional.cross_entropy(logits, labels), logits.detach().argmax(-1) == labels


def exact_by_task(batch: Batch, right: Tensor, episodes: Sequence[Episode]) -> dict[str, float]:
    """Share of answers with all tokens correct, by task, for the log."""
    wanted = batch.labels != IGNORE
    every = torch.zeros_like(wanted)
    every[wanted] = right
    found: dict[str, list[bool]] = defaultdict(list)
    for row, episode in enumerate(episodes):
        begins = (wanted[row] & ~wanted[row].roll(1)).nonzero().flatten().tolist()
        ends = (wanted[row] & ~wanted[row].roll(-1)).nonzero().flatten().tolist()
        for one, begin, end in zip(episode.asked, begins, ends, strict=True):
            found[one.task].append(bool(every[row, begin : end + 1].all()))
    return {task: sum(values) / len(values) for task, values in found.items()}


def average_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """All-reduce the gradients if several processes train jointly."""
    if not distributed.is_initialized():
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def new_language_model(stage: LanguageStage, encoder: Encoder) -> Qwen2ForCausalLM:
    """A model of the stage's depth, with the initial values of `init.py`."""
    model = build_language_model(encoder.tokenizer.get_vocab_size(), encoder.end, encoder.pad, stage.num_layers)
    init_name_embeddings(model, encoder, Codes.make())
    init_similarity_attention(model)
    if any(kind.as_text for kind in stage.mixture.values()):
        init_previous_token_head(model)
    return model


def load_previous(
    model: Qwen2ForCausalLM, stage: LanguageStage, encoder: Encoder, start_from: dict[str, Tensor]
) -> None:
    """Load the weights of an earlier stage, and initialise what this stage adds."""
    add_layers(model, start_from, stage.added)
    if 0 in stage.added:
        init_word_head(model, Codes.make())
    if stage.with_symbol_head:
        init_symbol_head(model, encoder, Codes.make(), min(stage.added))
    if stage.with_word_embeddings:
        init_word_embeddings(model, encoder, Codes.make())


def train_language_model(
    folder: Path,
    name: str,
    stage: LanguageStage,
    tokenizer: Tokenizer,
    frames_to_tokens: FramesToTokens,
    steps: int,
    start_from: dict[str, Tensor] | None = None,
) -> Path:
    """Train for `steps`, saving `{name}.pt` into `folder` every two minutes. An existing checkpoint is resumed."""
    torch.manual_seed(stage.seed)
    encoder = Encoder(tokenizer)
    model = new_language_model(stage, encoder)
    planned_steps = stage.planned_steps or steps
    optimiser = Optimiser([model], stage.lr, planned_steps, stage.decay_share, vector_share=0.5)
    path = folder / f"{name}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["language_model"])
        optimiser.load_state_dict(saved["optimiser"])
    elif start_from is not None:
        load_previous(model, stage, encoder, start_from)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    source = EpisodeSource(stage.seed + 1_000_003 * optimiser.done, stage.mixture, rank)
    begin, saved_at = time.time(), time.time()
    averages: dict[str, float] = {}
    last = min(planned_steps, steps)
    while optimiser.done < last:
        label, episodes = source.episodes() if stage.mixture else ("lookup", source.lookup())
        batch = encoder.batch(episodes, isolated=source.rng.random() < stage.isolated_share)
        frame_tokens = torch.cat([frames_to_tokens(episode.frames) for episode in episodes])
        skip_share = stage.mixture[label].skips if stage.mixture else 0.0
        loss, right = answer_loss(model, batch, frame_tokens, positions(source.rng, batch, skip_share))
        loss.backward()
        average_gradients(optimiser.parameters)
        scores = {f"loss of {label}": float(loss.detach()), **exact_by_task(batch, right, episodes)}
        for task, value in scores.items():
            averages[task] = value if task not in averages else 0.95 * averages[task] + 0.05 * value
        optimiser.step()
        if optimiser.done % 20 == 0 and rank == 0:
            text = ", ".join(f"{task} {value:.2f}" for task, value in averages.items())
            print(f"{name} {optimiser.done}/{last} {time.time() - begin:.0f} s {text}", flush=True)
        if rank == 0 and (time.time() - saved_at > SAVE_SECONDS or optimiser.done == last):
            save(path, {"language_model": model.state_dict(), "optimiser": optimiser.state_dict()})
            saved_at = time.time()
    return path
