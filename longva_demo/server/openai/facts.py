"""What an answer says about itself, in both forms."""

from typing import Any

from longva_demo.chat import Turn
from longva_demo.server.conversations import Answered


def finish_reason(turn: Turn, is_stopped: bool) -> str:
    """ "length" if the answer ended at its limit. `is_stopped`: at a stop text."""
    has_ended = len(turn.answer_ids) == turn.stats.num_new_tokens  # its last token was the end of the turn
    return "stop" if is_stopped or has_ended or turn.stats.stopped else "length"


def prompt_tokens(answered: Answered) -> tuple[int, int]:
    """Tokens of the prompt and of the answer."""
    return answered.turn.stats.num_tokens, answered.turn.stats.num_new_tokens


def longva_facts(answered: Answered, with_attribution: bool) -> dict[str, Any]:
    """The frames that the model was given, how the prefix was found, and what the answer relied on if asked for."""
    stats = answered.turn.stats
    facts: dict[str, Any] = {
        "frames": [{"index": frame.index, "seconds": frame.seconds} for frame in answered.frames],
        "notes": answered.notes,
        "prefix_cache": stats.cache.value,
        "seconds_to_first_token": round(stats.seconds_to_first_token, 4),
    }
    if with_attribution:
        facts["attribution"] = attribution_facts(answered)
    return facts


def attribution_facts(answered: Answered) -> dict[str, Any] | None:
    """The frames that the answer relied on, and by how many nats it is less likely without each; None if unknown.

    Of an engine elsewhere: the frame with which it became likely.
    """
    found = answered.turn.attribution
    if found is None or found.log_prob_drops is None:
        return None
    drops = dict(found.log_prob_drops)
    used = [(answered.frames[position], drops[position]) for position in found.used_frames]
    name, figure = ("first_seen", "log_prob_rise") if found.is_first_seen else ("used_frames", "log_prob_drop")
    return {name: [{"index": frame.index, "seconds": frame.seconds, figure: round(drop, 3)} for frame, drop in used]}
