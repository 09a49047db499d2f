"""Phrasings of every kind of question, about a picture and about a clip."""

import random

PHRASES: dict[str, tuple[str, ...]] = {
    "background": (
        "What colour is the background?",
        "What color is the background?",
        "Which colour is the background?",
        "Background colour?",
        "What is the background colour?",
        "What is behind the shapes?",
    ),
    "colour": (
        "What colour is the {ref}?",
        "What color is the {ref}?",
        "Which colour is the {ref}?",
        "What is the colour of the {ref}?",
        "Colour of the {ref}?",
        "{ref} colour?",
        "Tell me the colour of the {ref}.",
        "Which colour does the {ref} have?",
    ),
    "shape": (
        "What shape is the {ref}?",
        "Which shape is the {ref}?",
        "What is the {ref}?",
        "What is the shape of the {ref}?",
        "{ref} shape?",
        "What kind of shape is the {ref}?",
    ),
    "number": (
        "What number is on the {ref}?",
        "Which number is on the {ref}?",
        "What digit is on the {ref}?",
        "Which digit does the {ref} have?",
        "What is the number on the {ref}?",
        "Number on the {ref}?",
        "{ref} number?",
        "What number does the {ref} show?",
        "What number is written on the {ref}?",
        "Read the number on the {ref}.",
    ),
    "letter": (
        "What letter is on the {ref}?",
        "Which letter is on the {ref}?",
        "What is the letter on the {ref}?",
        "Letter on the {ref}?",
        "{ref} letter?",
        "Which letter does the {ref} have?",
        "What letter is written on the {ref}?",
    ),
    "only number": (
        "What number do you see?",
        "Which number is shown?",
        "What number is there?",
        "What is the number?",
        "Which digit do you see?",
        "What number appears?",
        "What digit is shown?",
        "number?",
        "What number can be seen?",
    ),
    "only letter": (
        "What letter do you see?",
        "Which letter is shown?",
        "What letter is there?",
        "What is the letter?",
        "What letter appears?",
        "letter?",
    ),
    "position": (
        "Where is the {ref}?",
        "Where do you see the {ref}?",
        "In which part of the picture is the {ref}?",
        "Position of the {ref}?",
        "{ref} where?",
        "Where can I find the {ref}?",
        "What is the position of the {ref}?",
    ),
    "count all": (
        "How many shapes are there?",
        "How many shapes do you see?",
        "Count the shapes.",
        "Number of shapes?",
        "How many shapes can you see?",
        "How many shapes are in the picture?",
    ),
    "count some": (
        "How many {ref} are there?",
        "How many {ref} do you see?",
        "Count the {ref}.",
        "How many {ref}?",
        "How many {ref} can you see?",
    ),
    "is there": (
        "Is there a {ref}?",
        "Do you see a {ref}?",
        "Can you see a {ref}?",
        "Does a {ref} appear?",
        "Is a {ref} there?",
        "Any {ref}?",
        "Is there any {ref}?",
    ),
    "is it": ("Is the {ref} {colour}?", "Is the colour of the {ref} {colour}?", "{ref} {colour}?"),
    "who has": (
        "Which shape has the {kind} {symbol} on it?",
        "What shape has the {symbol}?",
        "What has the {symbol} on it?",
        "Where is the {symbol} written on?",
        "Which one has the {kind} {symbol}?",
        "Which shape shows the {symbol}?",
        "{symbol} on what?",
        "On which shape is the {kind} {symbol}?",
    ),
    "colour of symbol": (
        "What colour is the shape with the {symbol}?",
        "What color is the shape with the {kind} {symbol}?",
        "Colour of the shape with {symbol}?",
    ),
    "about": (
        "Describe the {ref}.",
        "What about the {ref}?",
        "Tell me about the {ref}.",
        "What do you know about the {ref}?",
    ),
    "word": (
        "What word is written?",
        "Which word do you see?",
        "What does the text say?",
        "Read the word.",
        "What is the word?",
        "What word is shown?",
        "What does it say?",
        "word?",
        "What is written there?",
    ),
    "is word there": ("Is the word {word} there?", "Do you see the word {word}?", "Does it say {word}?"),
    "word where": (
        "Where is the word?",
        "Where is the word {word}?",
        "Where is the text?",
        "Where does it say {word}?",
    ),
    "word at": (
        "What word is at the {place}?",
        "Which word is written at the {place}?",
        "What does it say at the {place}?",
        "Read the word at the {place}.",
        "Word at the {place}?",
    ),
    "describe": (
        "What do you see?",
        "Describe the picture.",
        "Describe what you see.",
        "What is in the picture?",
        "What is shown?",
        "Describe the image.",
        "What is there?",
    ),
}

CLIP_PHRASES: dict[str, tuple[str, ...]] = {
    "direction": (
        "Which way does the {ref} move?",
        "In which direction does the {ref} move?",
        "Where does the {ref} move to?",
        "What direction does the {ref} move?",
        "How does the {ref} move?",
        "Which direction is the {ref} moving?",
        "Direction of the {ref}?",
        "{ref} direction?",
        "Which way is the {ref} going?",
        "Where does the {ref} go?",
    ),
    "moves": ("Does the {ref} move?", "Is the {ref} moving?"),
    "start colour": (
        "What colour is the {ref} at the start?",
        "What color is the {ref} at first?",
        "What colour does the {ref} have at the beginning?",
        "What colour was the {ref} before it changed?",
        "Start colour of the {ref}?",
        "Which colour is the {ref} in the first frame?",
    ),
    "end colour": (
        "What colour is the {ref} at the end?",
        "What color is the {ref} in the end?",
        "What colour does the {ref} turn into?",
        "What colour does the {ref} change to?",
        "What colour does the {ref} become?",
        "End colour of the {ref}?",
        "Which colour is the {ref} in the last frame?",
    ),
    "changes": (
        "Does the {ref} change colour?",
        "Does the colour of the {ref} change?",
        "Does the {ref} change its colour?",
        "Is there a change of colour?",
    ),
    "start place": ("Where is the {ref} at the start?", "Where is the {ref} at first?", "Where does the {ref} start?"),
    "end place": ("Where is the {ref} at the end?", "Where does the {ref} end?", "Where does the {ref} end up?"),
    "first shape": (
        "What comes first?",
        "Which shape comes first?",
        "What shape appears first?",
        "What is shown first?",
        "What do you see at the start?",
        "first shape?",
    ),
    "last shape": (
        "What comes last?",
        "Which shape comes last?",
        "What shape appears last?",
        "What is shown last?",
        "What do you see at the end?",
        "last shape?",
    ),
    "which first": (
        "Which comes first, the {one} or the {two}?",
        "What comes first, the {one} or the {two}?",
        "Does the {one} or the {two} come first?",
        "Which appears first, {one} or {two}?",
    ),
    "which last": (
        "Which comes last, the {one} or the {two}?",
        "What comes last, the {one} or the {two}?",
        "Which appears last, {one} or {two}?",
    ),
    "is before": ("Does the {one} come before the {two}?", "Is the {one} shown before the {two}?"),
    "needle": (
        "What number is on the {ref}?",
        "Which number is on the {ref}?",
        "What digit is on the {ref}?",
        "{ref} number?",
        "{ref}?",
        "What is the number on the {ref}?",
        "What number does the {ref} show?",
        "What number is written on the {ref}?",
    ),
    "only needle": (
        "What number appears in the video?",
        "Which number appears?",
        "What number is shown in the video?",
        "What number do you see?",
        "What digit appears in the clip?",
        "What is the number?",
        "number?",
        "Which number is hidden in the video?",
    ),
    "needle letter": ("What letter is on the {ref}?", "{ref} letter?", "Which letter is on the {ref}?"),
    "needle shape": (
        "Which shape has the number {symbol}?",
        "What has the {symbol} on it?",
        "On which shape is the number {symbol}?",
        "Which shape shows the {symbol}?",
    ),
    "needle there": (
        "Is there a number {symbol} in the video?",
        "Does the number {symbol} appear?",
        "Do you see the number {symbol}?",
        "Is there a {symbol}?",
    ),
}


def article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def style(rng: random.Random, text: str) -> str:
    """As people type: mostly unchanged, sometimes without the first capital or the final mark."""
    if rng.random() < 0.25:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.2:
        text = text.rstrip("?.")
    return text


def phrase(rng: random.Random, kind: str, /, **slots: str) -> str:
    text = rng.choice(PHRASES[kind]).format(**slots)
    name = slots.get("ref", "")
    if name and name[0] in "aeiou":
        text = text.replace(f" a {name}", f" an {name}")
    return style(rng, text)


def phrase_clip(rng: random.Random, kind: str, /, **slots: str) -> str:
    return style(rng, rng.choice(CLIP_PHRASES[kind]).format(**slots))
