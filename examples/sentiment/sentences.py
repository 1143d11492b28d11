"""Sentences about everyday things and how people felt about them: made from parts, our own words.

What is good or bad is said in many ways (an adjective, a verb, a wish, a complaint), and turned round by "not" and
"never": single words do not give the label away. Labels: 0 negative, 1 neutral, 2 positive.
"""

from __future__ import annotations

import random

NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2

THINGS = (
    "the coffee", "this phone", "the new update", "my train", "the hotel room", "that film", "the pizza",
    "the concert", "our teacher", "the delivery", "this keyboard", "the staff", "the weather", "my new bike",
    "the match", "this song", "the app", "the bread", "the waiting room", "the museum", "the battery", "the view",
)  # fmt: skip
GOOD = (
    "great", "wonderful", "lovely", "brilliant", "delicious", "perfect", "fantastic", "charming", "excellent",
    "a real joy", "better than expected", "worth every penny",
)  # fmt: skip
BAD = (
    "awful", "terrible", "horrible", "disappointing", "broken", "a waste of money", "rude", "dreadful", "useless",
    "worse than expected", "painfully slow", "a complete mess",
)  # fmt: skip
PLAIN = (
    "blue", "on the second floor", "open on Mondays", "made of wood", "near the station", "five years old",
    "ten minutes from here", "on the left", "about as long as the last one", "in the other bag",
    "available in two sizes", "listed on page four",
)  # fmt: skip
LIKE = ("I love", "I really enjoyed", "we all adored", "I would recommend", "everybody praised", "I am so happy with")
DISLIKE = ("I hate", "I regret", "we all disliked", "I would avoid", "everybody complained about", "I am so tired of")
SEE = ("I looked at", "we talked about", "I read about", "they mentioned", "I passed", "she asked about")
WHEN = ("today", "this morning", "again", "last week", "yesterday", "on Sunday", "after work", "")
START = ("", "", "", "honestly,", "well,", "so", "my friends say", "as far as I know,")
END = ("", "", "!", ".", " :)", " :(", " ...")


def sentence(label: int, chance: random.Random) -> str:
    """One sentence with this label."""
    thing, when = chance.choice(THINGS), chance.choice(WHEN)
    good, bad, plain = chance.choice(GOOD), chance.choice(BAD), chance.choice(PLAIN)
    shapes = {
        NEGATIVE: (
            f"{thing} was {bad} {when}",
            f"{thing} is {bad}",
            f"{chance.choice(DISLIKE)} {thing} {when}",
            f"{thing} was not {good} {when}",
            f"{thing} is never {good}",
            f"not {good} at all, {thing}",
            f"{thing} is {plain} and {bad}",
            f"they said {thing} was {good} but it was {bad}",
        ),
        NEUTRAL: (
            f"{thing} is {plain}",
            f"{thing} was {plain} {when}",
            f"{chance.choice(SEE)} {thing} {when}",
            f"{thing} is {plain} and {chance.choice(PLAIN)}",
            f"is {thing} {plain} ?",
            f"{chance.choice(SEE)} {thing} and it was {plain}",
        ),
        POSITIVE: (
            f"{thing} was {good} {when}",
            f"{thing} is {good}",
            f"{chance.choice(LIKE)} {thing} {when}",
            f"{thing} was not {bad} {when}",
            f"{thing} is never {bad}",
            f"not {bad} at all, {thing}",
            f"{thing} is {plain} and {good}",
            f"they said {thing} was {bad} but it was {good}",
        ),
    }
    ends = {NEGATIVE: (0, 2, 3, 5, 6), NEUTRAL: (0, 3), POSITIVE: (0, 2, 3, 4)}
    text = f"{chance.choice(START)} {chance.choice(shapes[label]).strip()}{END[chance.choice(ends[label])]}"
    text = " ".join(text.split())
    return text[0].upper() + text[1:] if chance.random() < 0.5 else text


def sentences(count: int, seed: int) -> list[tuple[str, int]]:
    """Sentences and their labels, as many of each label (give or take one); none twice."""
    chance = random.Random(seed)  # noqa: S311 - data, not secrets
    found: dict[str, int] = {}
    while len(found) < count:
        label = len(found) % 3
        found.setdefault(sentence(label, chance), label)
    return list(found.items())
