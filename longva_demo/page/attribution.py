"""What stands under an answer: how sure the model is, and the frames that the answer drew on."""

import math
from typing import Any

from PIL import Image

from longva_demo.chat import Source, Turn, VideoSource
from longva_demo.chat.attribution import MAX_ATTRIBUTED_TOKENS
from longva_demo.page.export import data_address
from longva_demo.page.i18n import message

# The probability that the answer's tokens have on average (geometric mean), and the word for it ("sure.…").
SURENESS = ((0.98, "sure"), (0.9, "fairly"), (0.0, "unsure"))
THUMBNAIL_SIDE = 112
# Attention goes to the page as one digit a frame, 0 to 9.
LEVELS = 9


def attribution_entry(turn: Turn, source: Source | None) -> dict[str, Any]:
    """For the transcript: "sure" and, of an answer about a video, "heat" and, once frames were hidden, "drawn".

    Where they are not hidden since the question is too long for that, "unweighed" says so.
    """
    word, probability = sureness(turn.stats.log_probability)
    entry: dict[str, Any] = {"sure": {"word": word, "probability": probability}}
    if turn.attribution is None or not isinstance(source, VideoSource):
        return entry
    entry["heat"] = heat(turn.attribution.attention)
    if turn.is_too_long_to_attribute:
        entry["unweighed"] = message(
            "attribution.too_long", tokens=turn.num_attributed_tokens, limit=MAX_ATTRIBUTED_TOKENS
        )
    if turn.attribution.log_prob_drops is not None:
        log_prob_drops = dict(turn.attribution.log_prob_drops)
        entry["drawn"] = [chip(source, place, log_prob_drops[place]) for place in turn.attribution.used_frames]
    return entry


def chip(source: VideoSource, place: int, fall: float) -> dict[str, Any]:
    """One frame to click: its time, a thumbnail, and how many times less likely the answer is without it."""
    seconds = source.seconds[place]
    return {
        "seconds": seconds,
        "picture": data_address(Image.fromarray(source.kept_frame(place)), THUMBNAIL_SIDE),
        "factor": math.exp(min(fall, 40.0)),
    }


def heat(attention: tuple[float, ...]) -> str:
    """A digit a frame: the square root of its share of the attention, as a part of the largest one.

    >>> heat((0.01, 0.81, 0.18))
    '194'
    """
    most = max(attention, default=0.0) or 1.0
    return "".join(str(round(LEVELS * math.sqrt(share / most))) for share in attention)


def sureness(log_probability: float) -> tuple[str, float]:
    """A word for the mean log-probability (nats) of an answer's tokens, and that probability, to the hundredth.

    >>> sureness(-0.005)[0], sureness(-0.05)[0], sureness(-0.5)
    ('sure', 'fairly', ('unsure', 0.61))
    """
    probability = math.exp(log_probability)
    return next(word for least, word in SURENESS if probability >= least), round(probability, 2)
