"""What the page shows below an answer: how sure the model was, and the frames that the answer used."""

import math

from PIL import Image

from longva_demo.chat import Source, Turn, VideoSource
from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.page.i18n import message
from longva_demo.page.jpeg import thumbnail_url
from longva_demo.page.transcript import AnswerAttribution, UsedFrame
from longva_demo.tiny.questions import REFUSAL

# The least geometric mean probability of the answer's tokens for each word, a key of the catalogues ("sure.…").
SURENESS = ((0.98, "sure"), (0.9, "fairly"), (0.0, "unsure"))
THUMBNAIL_SIDE = 112
# The page gets each frame's attention as one digit, 0 to 9.
LEVELS = 9


def answer_attribution(turn: Turn, source: Source | None) -> AnswerAttribution | None:
    """For the transcript. Only answers about a video have frames; `used_frames` are known once they were occluded.

    None for a refusal, which says nothing about the video.
    """
    if is_refusal(turn):
        return None
    word, probability = sureness(turn.stats.log_probability)
    if turn.attribution is None or not isinstance(source, VideoSource):
        return AnswerAttribution(word, probability)
    skipped, used_frames = None, None
    if turn.is_too_long_to_attribute:
        skipped = message("attribution.too_long", tokens=turn.num_attributed_tokens, limit=MAX_ATTRIBUTED_TOKENS)
    if turn.attribution.log_prob_drops is not None:
        log_prob_drops = dict(turn.attribution.log_prob_drops)
        used_frames = tuple(
            used_frame(source, position, log_prob_drops[position]) for position in turn.attribution.used_frames
        )
    levels, is_first_seen = heat(turn.attribution.attention) or None, turn.attribution.is_first_seen
    return AnswerAttribution(word, probability, levels, used_frames, skipped, is_first_seen)


def is_refusal(turn: Turn) -> bool:
    """Whether the built-in model declined to answer."""
    return turn.answer.strip() == REFUSAL


def used_frame(source: VideoSource, position: int, log_prob_drop: float) -> UsedFrame:
    picture = thumbnail_url(Image.fromarray(source.stored_frame(position)), THUMBNAIL_SIDE)
    return UsedFrame(source.seconds[position], picture, math.exp(min(log_prob_drop, 40.0)))


def heat(attention: tuple[float, ...]) -> str:
    """One digit per frame: the square root of its attention, relative to the highest.

    >>> heat((0.01, 0.81, 0.18))
    '194'
    """
    highest = max(attention, default=0.0) or 1.0
    return "".join(str(round(LEVELS * math.sqrt(share / highest))) for share in attention)


def sureness(log_probability: float) -> tuple[str, float]:
    """A word for the mean log-probability (nats) of an answer's tokens, and that probability, to the hundredth.

    >>> sureness(-0.005)[0], sureness(-0.05)[0], sureness(-0.5)
    ('sure', 'fairly', ('unsure', 0.61))
    """
    probability = math.exp(log_probability)
    return next(word for least, word in SURENESS if probability >= least), round(probability, 2)
