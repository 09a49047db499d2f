"""The reader's stages: frame tokens and questions → answers.

Stage "binding" takes the scene codes as frame tokens, so that it needs no eyes; the later ones take what the
trained eyes make of drawn and degraded frames too.
"""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed
from torch.nn import functional
from transformers import Qwen2ForCausalLM

from longva_demo.tiny.clips import Episode, colour_change, motion, needles, order, picture, still, told
from longva_demo.tiny.degrade import degrade
from longva_demo.tiny.draw import draw
from longva_demo.tiny.questions import DECLINE, Asked
from longva_demo.tiny.scenes import Mix, Scene, cells_of
from tools.tiny.beginnings import (
    attend_to_likeness,
    deepen,
    find_symbols,
    look_back,
    name_the_codes,
    name_the_words,
    notice_words,
)
from tools.tiny.network import CONTEXT_LENGTH, LANGUAGE, LANGUAGE_DIM, Codes, Eyes, build_reader, encode
from tools.tiny.optim import Optimiser
from tools.tiny.outside_questions import no_question, outside_question, untold_question
from tools.tiny.text import IGNORE, Batch, Encoder
from tools.tiny.train_eyes import FrameSource, save

APART = 0.7  # share of batches in which a question does not see the others of its sequence
FramesToTokens = Callable[[Sequence[Scene | None]], Tensor]


MIX = Mix(count_weights=(0.05, 0.2, 0.24, 0.23, 0.14, 0.09, 0.05), word_share=0.45)


@dataclass(frozen=True)
class Share:
    """How often a kind of episode is drawn, how many go into one batch, how long they are, how often with leaps."""

    weight: float
    batch: int
    num_frames: tuple[int, ...] = (1,)
    needles: int = 0
    needleless: float = 0.0  # of the clips with needles: how many have none after all
    questions: int = 6
    rounds: int = 1  # of needles and order: how often questions on a clip are drawn
    leaps: float = 0.3
    mix: Mix = MIX
    ask: dict[str, float] | None = None  # of pictures: how often each question, if not as usual
    told: bool = False  # in words instead of frames
    declined: float | None = None  # share of questions that cannot be answered, if not as usual


PICTURES = Share(5.0, 16, questions=6)
FULL = {
    "picture": PICTURES,
    "still": Share(0.5, 4, (4, 8, 16, 32)),
    "motion": Share(2.0, 6, (4, 8, 8, 12, 16, 32), questions=8),
    "colour change": Share(1.2, 6, (4, 8, 16, 32), questions=8),
    "order": Share(1.4, 6, (4, 8, 16, 32)),
    "needles": Share(0.8, 5, (16, 32), needles=6, questions=9),
    "one needle": Share(0.5, 4, (8, 16, 32, 64), needles=1, questions=3),
    "long": Share(1.0, 2, (64,), needles=16, questions=18),
    "longer": Share(0.7, 1, (160, 256), needles=26, questions=28),
}
CLIPS = FULL | {  # what happens in time is learned last: more of it, shorter and with fewer leaps
    "picture": Share(3.5, 16, questions=6, leaps=0.1),
    "motion": Share(3.0, 6, (4, 8, 8, 8, 16, 32), questions=8, leaps=0.08),
    "colour change": Share(2.0, 7, (2, 4, 8, 8, 16, 32), questions=8, leaps=0.08),
    "order": Share(2.4, 7, (4, 4, 8, 8, 16, 32), leaps=0.08),
}
WORDY = Mix(count_weights=(0.4, 0.3, 0.2, 0.1), word_share=0.9)
WORD_QUESTIONS = {"word": 4.0, "word_at": 4.0, "is_word_there": 1.0, "word_where": 1.0, "describe": 1.0}
ALL = CLIPS | {  # and what a mixture of everything hardly teaches: a few kinds of questions alone in a batch
    "words": Share(3.0, 24, questions=3, leaps=0.1, mix=WORDY, ask=WORD_QUESTIONS),
    "counts": Share(1.0, 16, leaps=0.1, ask={"count_all": 1.0, "count_some": 2.0}),
    "descriptions": Share(0.5, 16, questions=4, leaps=0.1, ask={"describe": 1.0, "about": 1.0}),
}
CHANGES = ALL | {  # what was before and after is learned last of all
    "picture": Share(3.0, 16, questions=6, leaps=0.1),
    "motion": Share(2.0, 6, (4, 8, 8, 8, 16, 32), questions=8, leaps=0.08),
    "colour change": Share(5.0, 8, (2, 4, 8, 8, 16, 32), questions=8, leaps=0.08),
    "order": Share(3.0, 7, (4, 4, 8, 8, 16, 32), leaps=0.08),
    "words": Share(0.5, 24, questions=3, leaps=0.1, mix=WORDY, ask=WORD_QUESTIONS),
}
MOMENTS = CHANGES | {  # but from clips of one length it is learned within 250 steps
    "picture": Share(2.0, 16, questions=6, leaps=0.1),
    "motion": Share(1.5, 8, (8,), questions=8, leaps=0.0),
    "colour change": Share(6.0, 12, (8,), questions=8, leaps=0.0),
    "order": Share(2.0, 8, (8,), leaps=0.0),
    "words": Share(2.0, 24, questions=3, leaps=0.1, mix=WORDY, ask=WORD_QUESTIONS),
    "longer": Share(0.3, 1, (160, 256), needles=26, questions=28),
}
WHOLE = ALL | {
    "picture": Share(5.0, 20, questions=6, leaps=0.1),
    "motion": Share(2.0, 8, (4, 8, 8, 16, 32), questions=8, leaps=0.08),
    "colour change": Share(2.0, 10, (2, 4, 8, 8, 16, 32), questions=8, leaps=0.08),
    "order": Share(2.0, 8, (4, 4, 8, 8, 16, 32), leaps=0.08),
    "words": Share(2.0, 24, questions=3, leaps=0.1, mix=WORDY, ask=WORD_QUESTIONS),
}
LAST = WHOLE | {"words": replace(WHOLE["words"], weight=4.0)}
PRESENCE = {"is_symbol_there": 2.0, "is_there": 1.0, "is_it": 1.0, "who_has": 1.0}
ABSENT = WHOLE | {  # and to say so when what is asked for is not there, without doubting what is
    "motion": replace(WHOLE["motion"], weight=2.5),
    "order": replace(WHOLE["order"], weight=3.0),
    "words": replace(WHOLE["words"], weight=1.0),
    "presence": Share(2.5, 16, leaps=0.1, ask=PRESENCE),
    "descriptions": Share(1.5, 16, questions=4, leaps=0.1, ask={"describe": 2.0, "about": 1.0}),
    "one needle": Share(1.2, 4, (8, 16, 32, 64), needles=1, questions=3, needleless=0.35),
    "far needle": Share(1.4, 2, (64, 128, 256), needles=1, questions=3, needleless=0.3),
}
THREE = Mix(count_weights=(0.03, 0.17, 0.27, 0.38, 0.1, 0.05))  # mostly as many as are described one by one
TELLING = {  # what a picture shows, thing by thing
    "picture": Share(1.5, 16, questions=6, leaps=0.1),
    "descriptions": Share(3.0, 40, questions=1, leaps=0.1, mix=THREE, ask={"describe": 1.0}),
    "symbols": Share(1.5, 20, questions=6, leaps=0.1, ask={"is_symbol_there": 1.0}),
}
PRESENT = {
    "symbols": replace(TELLING["symbols"], weight=4.0),
    "picture": replace(TELLING["picture"], weight=1.0),
}
COMPLETE = ABSENT | {
    "picture": Share(4.0, 20, questions=6, leaps=0.1),
    "motion": replace(WHOLE["motion"], weight=2.0),
    "colour change": replace(WHOLE["colour change"], weight=2.5),
    "order": replace(WHOLE["order"], weight=2.0),
    "one needle": replace(ABSENT["one needle"], weight=1.0),
    "words": replace(WHOLE["words"], weight=0.7),
    "presence": replace(ABSENT["presence"], weight=1.0),
    "descriptions": replace(TELLING["descriptions"], weight=6.0, batch=32),
    "symbols": replace(TELLING["symbols"], weight=3.0),
}
STANDING = {  # whether a thing moves at all
    "still": Share(1.0, 24, (4, 8, 8, 16), questions=1, leaps=0.0),
    "motion": Share(1.4, 10, (8, 8, 16), questions=8, leaps=0.0),
    "descriptions": replace(TELLING["descriptions"], weight=0.4, batch=32),
}
SETTLED = COMPLETE | {
    "still": Share(2.0, 16, (4, 8, 8, 16, 32), questions=2, leaps=0.08),
    "motion": Share(5.0, 10, (4, 8, 8, 16, 32), questions=8, leaps=0.08),
    "descriptions": replace(COMPLETE["descriptions"], weight=4.0),
}
STEADY = SETTLED | {
    "picture": replace(COMPLETE["picture"], weight=3.0),
    "motion": replace(SETTLED["motion"], weight=5.0),
    "company": Share(4.0, 12, (4, 8, 8, 16, 32), questions=6, leaps=0.08),
    "longer": replace(FULL["longer"], weight=1.0),
    "descriptions": replace(COMPLETE["descriptions"], weight=2.5),
    "symbols": replace(COMPLETE["symbols"], weight=1.0),
}
MANY = Mix(count_weights=(0.0, 0.1, 0.3, 0.3, 0.2, 0.1), word_share=0.2, symbol_share=0.75, bare_share=0.2)
LOOKING_UP = {"who_has": 3.0, "colour": 2.0, "shape": 2.0, "position": 2.0, "about": 2.0, "symbol": 1.0, "is_it": 0.5}
FINDING = STEADY | {  # one of several things by its symbol or its place
    "picture": replace(COMPLETE["picture"], weight=4.0),
    "lookup": Share(9.0, 24, questions=6, leaps=0.1, mix=MANY, ask=LOOKING_UP),
    "counts": Share(1.5, 16, leaps=0.1, ask={"count_all": 1.0, "count_some": 2.0}),
    "motion": replace(SETTLED["motion"], weight=2.5),
    "company": replace(STEADY["company"], weight=2.0),
    "descriptions": replace(COMPLETE["descriptions"], weight=5.0),
}
CHATS = {  # conversations as long as people hold them, and much that is no question
    name: replace(share, batch=max(1, share.batch // 2)) for name, share in FINDING.items()
} | {
    "chat": Share(8.0, 4, questions=22, leaps=0.1),
    "still chat": Share(2.5, 3, (4, 8, 16), questions=20, leaps=0.08),
    "lookup": replace(FINDING["lookup"], weight=4.0, batch=12),
    "motion": replace(FINDING["motion"], questions=16, batch=4),
    "colour change": replace(FINDING["colour change"], questions=16, batch=4),
    "order": replace(FINDING["order"], weight=3.0),
}
DECLINING = CHATS | {
    "declining": Share(25.0, 14, questions=8, leaps=0.1, declined=0.5),
    "chat": replace(CHATS["chat"], weight=4.0),
}
LASTING = CHATS | {  # answers that stay right after many others
    "chat": replace(CHATS["chat"], weight=12.0),
    "still chat": replace(CHATS["still chat"], weight=5.0),
    "needle chat": Share(5.0, 3, (16, 32, 64, 128), needles=1, questions=20, rounds=14, leaps=0.08),
    "order chat": Share(4.0, 4, (4, 8, 12, 16), questions=20, rounds=6, leaps=0.08),
    "declining": replace(DECLINING["declining"], weight=4.0),
    "missing": Share(4.0, 16, leaps=0.1, ask={"missing": 2.0, "is_there": 1.0, "position": 1.0, "colour": 1.0}),
    "one needle": replace(CHATS["one needle"], weight=2.5),
    "far needle": replace(CHATS["far needle"], weight=2.5),
    "descriptions": replace(CHATS["descriptions"], weight=7.0),
}
ENDURING = LASTING | {  # and are right on long clips too
    "needle chat": replace(LASTING["needle chat"], weight=6.0, num_frames=(16, 32, 64, 128, 256)),
    "one needle": replace(CHATS["one needle"], weight=4.0),
    "far needle": replace(CHATS["far needle"], weight=5.0),
    "colour change": replace(CHATS["colour change"], weight=5.0),
    "counts": replace(CHATS["counts"], weight=3.0, batch=16),
    "descriptions": replace(CHATS["descriptions"], weight=9.0, batch=24),
}
BINDING = Mix(count_weights=(0.0, 0.1, 0.4, 0.3, 0.2), word_share=0, symbol_share=0.6, bare_share=0, large_share=0)
BINDING_QUESTIONS = {"about": 3.0, "colour": 1.0, "symbol": 1.0, "shape": 1.0, "position": 1.0}


class EpisodeSource:
    """Endless batches of episodes; the same seed gives the same episodes."""

    def __init__(self, seed: int, shares: dict[str, Share], rank: int = 0) -> None:
        """Processes of different `rank` draw different episodes, but of the same kind at the same time."""
        self.kinds, self.rng, self.shares = random.Random(seed), random.Random(seed + 77_000 * rank), shares

    def binding(self) -> list[Episode]:
        """Several things, and only questions that look one of them up: learned first, it is learned soon."""
        return [picture(self.rng, BINDING, 6, BINDING_QUESTIONS) for _ in range(16)]

    def episodes(self) -> tuple[str, list[Episode]]:
        """One kind by lot, all of one length."""
        name = self.kinds.choices(list(self.shares), [share.weight for share in self.shares.values()])[0]
        share = self.shares[name]
        num_frames = self.kinds.choice(share.num_frames)
        made = [self._one(name, share, num_frames) for _ in range(share.batch)]
        return name, [self._declining(told(one) if share.told else one, share.declined) for one in made]

    def _one(self, name: str, share: Share, num_frames: int) -> Episode:
        if share.num_frames == (1,):
            return picture(self.rng, share.mix, share.questions, share.ask)
        if share.needles:
            count = share.needles if share.needles < 3 else self.rng.randint(2, share.needles)
            if share.needleless and self.rng.random() < share.needleless:
                count = 0
            return needles(self.rng, num_frames, min(count, num_frames // 2), share.questions, rounds=share.rounds)
        if name == "company":
            return motion(self.rng, MIX, num_frames, share.questions, company=(1, 2, 3))
        if name in ("order", "order chat"):
            return order(self.rng, MIX, num_frames, share.questions, share.rounds)
        maker = {"still": still, "still chat": still, "motion": motion, "colour change": colour_change}[name]
        return maker(self.rng, MIX, num_frames, share.questions)

    def _declining(self, episode: Episode, share: float | None) -> Episode:
        """Now and then: a question that cannot be answered, pictures that cannot, or no pictures at all."""
        if share is not None:
            asked = [self._decline() if self.rng.random() < share else one for one in episode.asked]
            return replace(episode, asked=tuple(asked))
        lot = self.rng.random()
        few = len(episode.frames) <= 32
        if lot < 0.05 and few:
            return Episode((None,) * len(episode.frames), self._all_declined(episode))
        if lot < 0.08 and few:
            return Episode((), self._all_declined(episode))
        asked = list(episode.asked)
        for _ in range(1 + len(asked) // 8):  # long conversations have several
            if self.rng.random() < 0.2:
                asked.insert(self.rng.randint(0, len(asked)), self._decline())
        return replace(episode, asked=tuple(asked))

    def _decline(self) -> Asked:
        make = self.rng.choice((outside_question, outside_question, untold_question, no_question))
        return Asked(make(self.rng), DECLINE, "decline")

    def _all_declined(self, episode: Episode) -> tuple[Asked, ...]:
        asked = [replace(one, answer=DECLINE, task="decline") for one in episode.asked]
        asked.insert(0, self._decline())
        self.rng.shuffle(asked)
        return tuple(asked[:2])


def code_tokens(codes: Codes, noise: float, seed: int) -> FramesToTokens:
    """Scene codes as frame tokens, with a little noise so that the reader does not count on their exactness."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(frames: Sequence[Scene | None]) -> Tensor:
        exact = codes.of(cells_of(list(frames)))
        return exact + noise * torch.randn(exact.shape, generator=generator)

    return tokens


class SeenTokens:
    """What the eyes make of the frames. A scene that stands still is drawn and encoded once for each run of frames."""

    def __init__(self, eyes: Eyes, seed: int) -> None:
        self.eyes, self.rng, self.outside = eyes.eval(), random.Random(seed), FrameSource(seed)

    def __call__(self, frames: Sequence[Scene | None]) -> Tensor:
        drawn: list[np.ndarray] = []
        index: list[int] = []
        for at, scene in enumerate(frames):
            if at == 0 or scene is None or scene is not frames[at - 1] or self.rng.random() < 0.05:
                drawn.append(self.outside.outside() if scene is None else draw(scene))
            index.append(len(drawn) - 1)
        if not drawn:
            return torch.zeros(0, 9, LANGUAGE_DIM)
        return encode(self.eyes, degrade(np.stack(drawn), self.rng))[index].clone()


class MixedTokens:
    """Codes for most clips, which cost nothing, and what the eyes see for the others."""

    def __init__(self, eyes: Eyes, seed: int, seen_share: float) -> None:
        self.rng, self.seen_share = random.Random(seed), seen_share
        self.seen, self.codes = SeenTokens(eyes, seed), code_tokens(Codes.make(), 0.06, seed)

    def __call__(self, frames: Sequence[Scene | None]) -> Tensor:
        return (self.seen if self.rng.random() < self.seen_share else self.codes)(frames)


def positions(rng: random.Random, batch: Batch, leap_share: float) -> Tensor:
    """0, 1, 2 … with, at times, one or two leaps, so that far distances are known from short sequences.

    Turns that are apart all begin at the place after the frames, as each would alone. Returns (batch or 1, length).
    """
    length = batch.ids.shape[1]
    steps = torch.ones(length, dtype=torch.long)
    steps[0] = 0
    if rng.random() < leap_share:
        for _ in range(rng.randint(1, 2)):
            room = CONTEXT_LENGTH - int(steps.sum()) - 1
            leap = int(math.exp(rng.uniform(math.log(50), math.log(max(60, room)))))
            steps[rng.randrange(10, length)] += min(leap, max(0, room))
    place = steps.cumsum(0)[None]
    if not batch.apart:
        return place
    place = place.expand_as(batch.ids).clone()
    begins = torch.zeros_like(batch.turn, dtype=torch.bool)
    begins[:, 1:] = batch.turn[:, 1:] != batch.turn[:, :-1]
    for row in range(len(place)):
        starts = begins[row].nonzero().flatten().tolist()  # none where nothing is asked
        for begin, end in pairwise([*starts, length]):
            place[row, begin:end] += place[row, starts[0]] - place[row, begin].item()
    return place


def answer_loss(reader: Qwen2ForCausalLM, batch: Batch, frame_tokens: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the answers' tokens, and whether each was right. Only those positions are projected."""
    embedded = reader.model.embed_tokens(batch.ids)
    embedded = embedded.masked_scatter(batch.is_frame[..., None], frame_tokens.to(embedded.dtype))
    # A dict passes through unchanged; None is plain causal attention, whatever the positions are.
    masks = {"full_attention": batch.mask()}
    hidden = reader.model(inputs_embeds=embedded, attention_mask=masks, position_ids=place, use_cache=False)
    wanted = batch.labels != IGNORE
    logits = reader.lm_head(hidden.last_hidden_state[wanted])
    labels = batch.labels[wanted]
    return functional.cross_entropy(logits, labels), logits.detach().argmax(-1) == labels


def exact_by_task(batch: Batch, right: Tensor, episodes: Sequence[Episode]) -> dict[str, float]:
    """Share of answers with every token right, by task, for the log."""
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
    """Across all processes, if there are several."""
    if not distributed.is_initialized():
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for parameter, part in zip(parameters, together.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def train_reader(
    folder: Path,
    name: str,
    tokenizer: Tokenizer,
    frames_to_tokens: FramesToTokens,
    shares: dict[str, Share],
    steps: int,
    seed: int,
    lr: float,
    start_from: dict[str, Tensor] | None = None,
    stop: int | None = None,
    with_words: bool = False,
    with_symbols: bool = False,
    resume: bool = True,
    decay_share: float = 0.4,
    apart_share: float = APART,
    num_layers: int = LANGUAGE["num_hidden_layers"],
    added: Sequence[int] = (),
) -> Path:
    """Train, writing `{name}.pt` into `folder` every few minutes; continues from it if it is there.

    The learning rate falls as planned for `steps`; `stop` ends the stage earlier. `with_words`: see
    `name_the_words`; `with_symbols`: see `find_symbols`. What it starts from lacks the layers `added`.
    """
    torch.manual_seed(seed)
    encoder = Encoder(tokenizer)
    reader = build_reader(tokenizer.get_vocab_size(), encoder.end, encoder.pad, num_layers)
    name_the_codes(reader, encoder, Codes.make())
    attend_to_likeness(reader)
    if any(share.told for share in shares.values()):
        look_back(reader)
    optimiser = Optimiser([reader], lr, steps, decay_share, vector_share=0.5)
    path = folder / f"{name}.pt"
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        reader.load_state_dict(saved["reader"])
        optimiser.load_state_dict(saved["optimiser"])
    elif start_from is not None:
        deepen(reader, start_from, added)
        if 0 in added:
            notice_words(reader, Codes.make())
        if with_symbols:
            find_symbols(reader, encoder, Codes.make(), min(added))
        if with_words:
            name_the_words(reader, encoder, Codes.make())
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    source = EpisodeSource(seed + 1_000_003 * optimiser.done, shares, rank)
    begin, saved_at = time.time(), time.time()
    averages: dict[str, float] = {}
    stop = min(steps, stop or steps)
    while optimiser.done < stop:
        label, episodes = source.episodes() if shares else ("binding", source.binding())
        batch = encoder.batch(episodes, apart=source.rng.random() < apart_share)
        seen = torch.cat([frames_to_tokens(episode.frames) for episode in episodes])
        leaps = shares[label].leaps if shares else 0.0
        loss, right = answer_loss(reader, batch, seen, positions(source.rng, batch, leaps))
        loss.backward()
        average_gradients(optimiser.parameters)
        scores = {f"loss of {label}": float(loss.detach()), **exact_by_task(batch, right, episodes)}
        for task, value in scores.items():
            averages[task] = value if task not in averages else 0.95 * averages[task] + 0.05 * value
        optimiser.step()
        if optimiser.done % 20 == 0 and rank == 0:
            line = ", ".join(f"{task} {value:.2f}" for task, value in averages.items())
            print(f"{name} {optimiser.done}/{stop} {time.time() - begin:.0f} s {line}", flush=True)
        if rank == 0 and (time.time() - saved_at > 120 or optimiser.done == stop):
            save(path, {"reader": reader.state_dict(), "optimiser": optimiser.state_dict()})
            saved_at = time.time()
    return path
