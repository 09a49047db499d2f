"""The data mixture of each language-model stage. Most extend the mixture of an earlier stage."""

from dataclasses import replace

from longva_demo.tiny.scenes import Mix
from tools.tiny.episodes import EpisodeKind, Mixture

ALL_CLIPS: Mixture = {
    "picture": EpisodeKind(5.0, 16, questions=6),
    "still": EpisodeKind(0.5, 4, (4, 8, 16, 32)),
    "motion": EpisodeKind(2.0, 6, (4, 8, 8, 12, 16, 32), questions=8),
    "colour change": EpisodeKind(1.2, 6, (4, 8, 16, 32), questions=8),
    "order": EpisodeKind(1.4, 6, (4, 8, 16, 32)),
    "needles": EpisodeKind(0.8, 5, (16, 32), needles=6, questions=9),
    "one needle": EpisodeKind(0.5, 4, (8, 16, 32, 64), needles=1, questions=3),
    "long": EpisodeKind(1.0, 2, (64,), needles=16, questions=18),
    "longer": EpisodeKind(0.7, 1, (160, 256), needles=26, questions=28),
}
EVENTS: Mixture = ALL_CLIPS | {  # events in time are learned last: more of them, in shorter clips with fewer skips
    "picture": EpisodeKind(3.5, 16, questions=6, skips=0.1),
    "motion": EpisodeKind(3.0, 6, (4, 8, 8, 8, 16, 32), questions=8, skips=0.08),
    "colour change": EpisodeKind(2.0, 7, (2, 4, 8, 8, 16, 32), questions=8, skips=0.08),
    "order": EpisodeKind(2.4, 7, (4, 4, 8, 8, 16, 32), skips=0.08),
}
WORD_SCENES = Mix(count_weights=(0.4, 0.3, 0.2, 0.1), word_share=0.9)
WORD_QUESTIONS = {"word": 4.0, "word_at": 4.0, "is_word_there": 1.0, "word_where": 1.0, "describe": 1.0}
WORDS_AND_COUNTS: Mixture = EVENTS | {  # batches of one kind of question, which a uniform mixture hardly teaches
    "words": EpisodeKind(3.0, 24, questions=3, skips=0.1, mix=WORD_SCENES, ask=WORD_QUESTIONS),
    "counts": EpisodeKind(1.0, 16, skips=0.1, ask={"count_all": 1.0, "count_some": 2.0}),
    "descriptions": EpisodeKind(0.5, 16, questions=4, skips=0.1, ask={"describe": 1.0, "about": 1.0}),
}
COLOUR_CHANGES: Mixture = WORDS_AND_COUNTS | {  # before and after are learned last of all
    "picture": EpisodeKind(3.0, 16, questions=6, skips=0.1),
    "motion": EpisodeKind(2.0, 6, (4, 8, 8, 8, 16, 32), questions=8, skips=0.08),
    "colour change": EpisodeKind(5.0, 8, (2, 4, 8, 8, 16, 32), questions=8, skips=0.08),
    "order": EpisodeKind(3.0, 7, (4, 4, 8, 8, 16, 32), skips=0.08),
    "words": EpisodeKind(0.5, 24, questions=3, skips=0.1, mix=WORD_SCENES, ask=WORD_QUESTIONS),
}
SHORT_CLIPS: Mixture = COLOUR_CHANGES | {  # with clips of one length, before and after are learned within 250 steps
    "picture": EpisodeKind(2.0, 16, questions=6, skips=0.1),
    "motion": EpisodeKind(1.5, 8, (8,), questions=8, skips=0.0),
    "colour change": EpisodeKind(6.0, 12, (8,), questions=8, skips=0.0),
    "order": EpisodeKind(2.0, 8, (8,), skips=0.0),
    "words": EpisodeKind(2.0, 24, questions=3, skips=0.1, mix=WORD_SCENES, ask=WORD_QUESTIONS),
    "longer": EpisodeKind(0.3, 1, (160, 256), needles=26, questions=28),
}
ALL_LENGTHS: Mixture = WORDS_AND_COUNTS | {
    "picture": EpisodeKind(5.0, 20, questions=6, skips=0.1),
    "motion": EpisodeKind(2.0, 8, (4, 8, 8, 16, 32), questions=8, skips=0.08),
    "colour change": EpisodeKind(2.0, 10, (2, 4, 8, 8, 16, 32), questions=8, skips=0.08),
    "order": EpisodeKind(2.0, 8, (4, 4, 8, 8, 16, 32), skips=0.08),
    "words": EpisodeKind(2.0, 24, questions=3, skips=0.1, mix=WORD_SCENES, ask=WORD_QUESTIONS),
}
WORDS: Mixture = ALL_LENGTHS | {"words": replace(ALL_LENGTHS["words"], weight=4.0)}
PRESENCE_QUESTIONS = {"is_symbol_there": 2.0, "is_there": 1.0, "is_it": 1.0, "who_has": 1.0}
ABSENCE: Mixture = ALL_LENGTHS | {  # to say when something is absent, without doubting what is present
    "motion": replace(ALL_LENGTHS["motion"], weight=2.5),
    "order": replace(ALL_LENGTHS["order"], weight=3.0),
    "words": replace(ALL_LENGTHS["words"], weight=1.0),
    "presence": EpisodeKind(2.5, 16, skips=0.1, ask=PRESENCE_QUESTIONS),
    "descriptions": EpisodeKind(1.5, 16, questions=4, skips=0.1, ask={"describe": 2.0, "about": 1.0}),
    "one needle": EpisodeKind(1.2, 4, (8, 16, 32, 64), needles=1, questions=3, needle_free=0.35),
    "far needle": EpisodeKind(1.4, 2, (64, 128, 256), needles=1, questions=3, needle_free=0.3),
}
DESCRIBED_SCENES = Mix(
    count_weights=(0.03, 0.17, 0.27, 0.38, 0.1, 0.05)
)  # mostly few enough to be described one by one
DESCRIPTIONS: Mixture = {  # what a picture shows, thing by thing
    "picture": EpisodeKind(1.5, 16, questions=6, skips=0.1),
    "descriptions": EpisodeKind(3.0, 40, questions=1, skips=0.1, mix=DESCRIBED_SCENES, ask={"describe": 1.0}),
    "symbols": EpisodeKind(1.5, 20, questions=6, skips=0.1, ask={"is_symbol_there": 1.0}),
}
SYMBOLS: Mixture = {
    "symbols": replace(DESCRIPTIONS["symbols"], weight=4.0),
    "picture": replace(DESCRIPTIONS["picture"], weight=1.0),
}
CONSOLIDATION: Mixture = ABSENCE | {
    "picture": EpisodeKind(4.0, 20, questions=6, skips=0.1),
    "motion": replace(ALL_LENGTHS["motion"], weight=2.0),
    "colour change": replace(ALL_LENGTHS["colour change"], weight=2.5),
    "order": replace(ALL_LENGTHS["order"], weight=2.0),
    "one needle": replace(ABSENCE["one needle"], weight=1.0),
    "words": replace(ALL_LENGTHS["words"], weight=0.7),
    "presence": replace(ABSENCE["presence"], weight=1.0),
    "descriptions": replace(DESCRIPTIONS["descriptions"], weight=6.0, batch=32),
    "symbols": replace(DESCRIPTIONS["symbols"], weight=3.0),
}
STILL_THINGS: Mixture = {  # whether a thing moves at all
    "still": EpisodeKind(1.0, 24, (4, 8, 8, 16), questions=1, skips=0.0),
    "motion": EpisodeKind(1.4, 10, (8, 8, 16), questions=8, skips=0.0),
    "descriptions": replace(DESCRIPTIONS["descriptions"], weight=0.4, batch=32),
}
MOTION: Mixture = CONSOLIDATION | {
    "still": EpisodeKind(2.0, 16, (4, 8, 8, 16, 32), questions=2, skips=0.08),
    "motion": EpisodeKind(5.0, 10, (4, 8, 8, 16, 32), questions=8, skips=0.08),
    "descriptions": replace(CONSOLIDATION["descriptions"], weight=4.0),
}
BYSTANDERS: Mixture = MOTION | {
    "picture": replace(CONSOLIDATION["picture"], weight=3.0),
    "motion": replace(MOTION["motion"], weight=5.0),
    "bystanders": EpisodeKind(4.0, 12, (4, 8, 8, 16, 32), questions=6, skips=0.08),
    "longer": replace(ALL_CLIPS["longer"], weight=1.0),
    "descriptions": replace(CONSOLIDATION["descriptions"], weight=2.5),
    "symbols": replace(CONSOLIDATION["symbols"], weight=1.0),
}
CROWDED_SCENES = Mix(count_weights=(0.0, 0.1, 0.3, 0.3, 0.2, 0.1), word_share=0.2, symbol_share=0.75, bare_share=0.2)
REFERENCE_QUESTIONS = {
    "who_has": 3.0,
    "colour": 2.0,
    "shape": 2.0,
    "position": 2.0,
    "about": 2.0,
    "symbol": 1.0,
    "is_it": 0.5,
}
REFERENCES: Mixture = BYSTANDERS | {  # one of several things, named by its symbol or position
    "picture": replace(CONSOLIDATION["picture"], weight=4.0),
    "lookup": EpisodeKind(9.0, 24, questions=6, skips=0.1, mix=CROWDED_SCENES, ask=REFERENCE_QUESTIONS),
    "counts": EpisodeKind(1.5, 16, skips=0.1, ask={"count_all": 1.0, "count_some": 2.0}),
    "motion": replace(MOTION["motion"], weight=2.5),
    "bystanders": replace(BYSTANDERS["bystanders"], weight=2.0),
    "descriptions": replace(CONSOLIDATION["descriptions"], weight=5.0),
}
CONVERSATIONS: Mixture = {  # realistic lengths, and many texts that are not questions
    name: replace(kind, batch=max(1, kind.batch // 2)) for name, kind in REFERENCES.items()
} | {
    "chat": EpisodeKind(8.0, 4, questions=22, skips=0.1),
    "still chat": EpisodeKind(2.5, 3, (4, 8, 16), questions=20, skips=0.08),
    "lookup": replace(REFERENCES["lookup"], weight=4.0, batch=12),
    "motion": replace(REFERENCES["motion"], questions=16, batch=4),
    "colour change": replace(REFERENCES["colour change"], questions=16, batch=4),
    "order": replace(REFERENCES["order"], weight=3.0),
}
REFUSALS: Mixture = CONVERSATIONS | {
    "refusals": EpisodeKind(25.0, 14, questions=8, skips=0.1, refused=0.5),
    "chat": replace(CONVERSATIONS["chat"], weight=4.0),
}
LONG_CONVERSATIONS: Mixture = CONVERSATIONS | {  # answers stay correct late in a conversation
    "chat": replace(CONVERSATIONS["chat"], weight=12.0),
    "still chat": replace(CONVERSATIONS["still chat"], weight=5.0),
    "needle chat": EpisodeKind(5.0, 3, (16, 32, 64, 128), needles=1, questions=20, rounds=14, skips=0.08),
    "order chat": EpisodeKind(4.0, 4, (4, 8, 12, 16), questions=20, rounds=6, skips=0.08),
    "refusals": replace(REFUSALS["refusals"], weight=4.0),
    "missing": EpisodeKind(4.0, 16, skips=0.1, ask={"missing": 2.0, "is_there": 1.0, "position": 1.0, "colour": 1.0}),
    "one needle": replace(CONVERSATIONS["one needle"], weight=2.5),
    "far needle": replace(CONVERSATIONS["far needle"], weight=2.5),
    "descriptions": replace(CONVERSATIONS["descriptions"], weight=7.0),
}
LONG_CLIPS: Mixture = LONG_CONVERSATIONS | {  # and on long clips
    "needle chat": replace(LONG_CONVERSATIONS["needle chat"], weight=6.0, num_frames=(16, 32, 64, 128, 256)),
    "one needle": replace(CONVERSATIONS["one needle"], weight=4.0),
    "far needle": replace(CONVERSATIONS["far needle"], weight=5.0),
    "colour change": replace(CONVERSATIONS["colour change"], weight=5.0),
    "counts": replace(CONVERSATIONS["counts"], weight=3.0, batch=16),
    "descriptions": replace(CONVERSATIONS["descriptions"], weight=9.0, batch=24),
}
