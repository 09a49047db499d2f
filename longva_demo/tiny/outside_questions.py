"""Questions to which the small model's only true answer is that it cannot tell."""

import random

THINGS = (
    *("dog", "cat", "person", "man", "woman", "child", "bird", "horse", "house", "tree", "table", "chair", "phone"),
    *("bicycle", "boat", "train", "plane", "ball", "book", "cup", "hand", "face", "hat", "river", "mountain", "street"),
    *("computer", "guitar", "elephant", "camera", "bottle", "lamp", "door", "window", "flower", "shoe", "knife", "bag"),
)
DOINGS = (
    *("doing", "saying", "eating", "holding", "wearing", "thinking", "playing", "cooking", "reading", "looking at"),
    *("singing", "driving", "building", "drinking", "watching", "feeling", "writing", "carrying", "selling"),
)
NAMES = (
    *("France", "Japan", "Brazil", "Egypt", "Paris", "London", "the moon", "Mozart", "the world", "the ocean"),
    *("history", "football", "quantum physics", "the economy", "the internet", "chess", "Rome", "India", "Mars"),
)
FORMS = (
    *("What is the {thing} {doing}?", "Is there a {thing}?", "Do you see a {thing}?", "How many {thing}s are there?"),
    *("Where is the {thing}?", "What colour is the {thing}?", "Who is the {thing}?", "Is the {thing} {doing}?"),
    *("Why is the {thing} {doing}?", "What is the capital of {name}?", "Tell me about {name}.", "Who won in {name}?"),
    *("Write a poem about {name}.", "Write a story about a {thing}.", "What is {number} plus {number}?"),
    *(
        "Explain {name}.",
        "Translate this into {language}.",
        "What is the weather in {name}?",
        "How old is the {thing}?",
    ),
    *("What time is it?", "What day is it?", "Who are you?", "What can you do?", "Hello", "Hi", "Hi there!", "help"),
    *("Hello, how are you?", "What is your name?", "Tell me a joke.", "Who made you?", "Thank you", "ok", "test"),
    *("Are you a robot?", "What model are you?", "What do you know?", "Summarise the video.", "What happens?"),
    *("What is this video about?", "Is this video funny?", "Who is the actor?", "What language is spoken?"),
    *("What is the mood of the scene?", "Where was this filmed?", "What year is this?", "What is the person {doing}?"),
    *("How does {name} work?", "Give me a recipe with {thing}.", "What brand is the {thing}?", "Is it raining?"),
    *("What is the score?", "Which team wins?", "What is the title of this film?", "Is the {thing} made of wood?"),
    *("How much does a {thing} cost?", "Who is speaking?", "What do people say?", "Can you hear music?"),
    *("Does the {thing} look happy?", "What will happen next?", "Please help me with {name}.", "What is {name}?"),
    *(
        "{thing}?",
        "{name}?",
        "Describe the {thing}.",
        "What is behind the {thing}?",
        "Is the {thing} near the {thing}?",
    ),
)
LANGUAGES = ("French", "German", "Chinese", "Spanish", "Dutch")
SYLLABLES = ("ba", "ko", "ri", "ten", "mo", "sha", "lu", "pre", "ing", "gra", "est", "vi", "ou", "nd", "fe", "zi")


def outside_question(rng: random.Random) -> str:
    """Something that cannot be told from shapes; now and then a word that does not exist."""
    thing = rng.choice(THINGS)
    if rng.random() < 0.2:
        thing = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))
    text = rng.choice(FORMS).format(
        thing=thing,
        doing=rng.choice(DOINGS),
        name=rng.choice(NAMES),
        number=rng.randrange(100),
        language=rng.choice(LANGUAGES),
    )
    if rng.random() < 0.3:
        text = text.lower()
    return text.rstrip("?.") if rng.random() < 0.2 else text
