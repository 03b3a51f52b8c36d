"""What the tiny base model is raised on: made-up dialogues in everyday words that exercise what any base model can do.

Nothing here knows a trade: no prompt, answer, code or table of `recipes/`, neither right nor wrong. So what a tuned
model knows of a recipe it has from the recipe's rows.
"""

from __future__ import annotations

import json
import random
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
LISTS = {name: tuple(words.split()) for name, words in WORDS.items() if isinstance(words, str)}
LISTS["letters"] = tuple(string.ascii_uppercase)
KINDS = {"color": "colors", "animal": "animals", "tool": "tools", "food": "foods", "place": "places"}
OF_NOUNS = ("animals", "tools", "foods", "things", "places", "hardware", "body", "money")
NOUNS = tuple(word for kind in OF_NOUNS for word in LISTS[kind])
JOINTS = ("-", ", ", " ")
ABBREVIATIONS = dict(pair.replace("_", " ").split("=") for pair in LISTS.pop("abbreviations"))
ALOUD = {word[0].upper(): word for word in LISTS["spelling"]} | dict(zip(string.digits, LISTS["digits"], strict=True))
SENTENCES: list[str] = WORDS["sentences"]
Turn = tuple[str, str]


def dialogues(seed: int) -> Iterator[list[dict[str, str]]]:
    """Endless dialogues in chat form."""
    rng = random.Random(seed)  # noqa: S311
    while True:
        (ability,) = rng.choices(list(ABILITIES), list(ABILITIES.values()))
        question, answer = ability(rng)
        yield [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def pick(rng: random.Random, kind: str) -> str:
    return rng.choice(LISTS[kind])


def number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice((1, 2, 2, 2, 3))))


def code(rng: random.Random) -> str:
    """Two to four letters or digits, as labels have them."""
    letters, digits = ("".join(rng.choices(some, k=3)) for some in (string.ascii_uppercase, string.digits))
    return rng.choice((letters[:2], letters[:2], letters, letters[0] + digits[:2], letters[0] + digits[0], digits))


def phrase(rng: random.Random) -> str:
    """One to four words that mean one thing, or nothing."""
    match rng.randrange(6):
        case 0:
            return f"{pick(rng, 'qualities')} {rng.choice(NOUNS)}"
        case 1:
            return f"{pick(rng, 'colors')} {rng.choice(NOUNS)} {number(rng)}"
        case 2:
            return f"{number(rng)} {pick(rng, 'measures')}"
        case 3:
            return f"{pick(rng, 'actions')} the {rng.choice(NOUNS)}"
        case 4:
            return rng.choice(NOUNS)
    return " ".join(rng.choices(LISTS["common"], k=rng.randint(1, 4)))


def sentence(rng: random.Random) -> str:
    """Plain prose."""
    gaps: dict[str, object] = {"who": pick(rng, "people"), "what": f"{pick(rng, 'qualities')} {rng.choice(NOUNS)}"}
    gaps["where"], form = pick(rng, "places"), rng.choice(SENTENCES)
    gaps |= {"when": pick(rng, "times"), "n": rng.randint(2, 90), "unit": pick(rng, "measures")}
    return form.format(**gaps, act=pick(rng, "actions"), act2=pick(rng, "actions"))


def facts(rng: random.Random, count: int) -> dict[str, str]:
    return {field: phrase(rng) for field in rng.sample(LISTS["fields"], count)}


def numbered(steps: list[str]) -> str:
    return " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))


def as_json(values: dict[str, str]) -> str:
    return json.dumps(values, separators=(",", ":"))


def span(rng: random.Random) -> str:
    """Any short text: prose, a list, a code, JSON, steps."""
    match rng.randrange(6):
        case 0:
            return sentence(rng)
        case 1:
            return ", ".join(phrase(rng) for _ in range(rng.randint(1, 4)))
        case 2:
            return "-".join(code(rng) for _ in range(rng.randint(1, 5)))
        case 3:
            return as_json(facts(rng, 2))
        case 4:
            return numbered([phrase(rng) for _ in range(rng.randint(2, 4))])
    return f"{code(rng)}: {phrase(rng)} ({code(rng)}-{number(rng)}); {phrase(rng)}"


def repeat(rng: random.Random) -> Turn:
    text = span(rng)
    return rng.choice(("Repeat: {}", "Say this again: {}", "Copy the text. {}")).format(text), text


def look_up(rng: random.Random) -> Turn:
    """One or more keys of a list, their values in the order asked for."""
    table = {code(rng): phrase(rng) for _ in range(rng.randint(2, 6))}
    keys = rng.sample(list(table), rng.randint(1, min(4, len(table))))
    given = "; ".join(f"{key} = {value}" for key, value in table.items())
    joint = rng.choice(JOINTS)
    ask = rng.choice(("{given}. Now {keys}:", "Read {keys} with: {given}", "{keys}? {given}"))
    return ask.format(given=given, keys=joint.join(keys)), ", ".join(table[key] for key in keys)


def fill(rng: random.Random) -> Turn:
    """A form of the prompt, its gaps filled with the facts beside it."""
    given = facts(rng, rng.randint(2, 4))
    form = " ".join(f"{pick(rng, 'common')} [{gap}]" for gap in rng.sample(list(given), len(given)))
    answer = form
    for field, value in given.items():
        answer = answer.replace(f"[{field}]", value)
    listed = ", ".join(f"{field}: {value}" for field, value in given.items())
    ask = rng.choice(("{listed}. Fill in: {form}", "Form: {form}. Facts: {listed}"))
    return ask.format(listed=listed, form=form), answer


def to_json(rng: random.Random) -> Turn:
    given = facts(rng, rng.randint(1, 4))
    listed = ", ".join(f"{field}: {value}" for field, value in given.items())
    return rng.choice(("As JSON: {}", "{} Give JSON.")).format(listed), as_json(given)


def from_json(rng: random.Random) -> Turn:
    given = facts(rng, rng.randint(2, 4))
    field = rng.choice(list(given))
    return f"{as_json(given)} What is the {field}?", given[field]


def steps(rng: random.Random) -> Turn:
    listed = [f"{pick(rng, 'actions')} the {rng.choice(NOUNS)}" for _ in range(rng.randint(2, 5))]
    return f"Number these: {', '.join(listed)}", numbered(listed)


def reading(rng: random.Random) -> Turn:
    who, what, where, when = pick(rng, "people"), rng.choice(NOUNS), pick(rng, "places"), pick(rng, "times")
    color, n = pick(rng, "colors"), str(rng.randint(2, 90))
    text = f"In {when} {who} bought {n} {color} pieces of {what} at the {where}."
    asked = {"Who": who, "What": what, "Where": where, "When": when, "Which color": color, "How many": n}
    ask = rng.choice(list(asked))
    return f"{text} {ask}?", asked[ask]


def presence(rng: random.Random) -> Turn:
    listed = rng.sample(NOUNS, rng.randint(2, 6))
    word = rng.choice(listed if rng.random() < 0.5 else NOUNS)
    return f"{', '.join(listed)}. Is {word} there?", "yes" if word in listed else "no"


def count(rng: random.Random) -> Turn:
    listed = rng.choices(NOUNS, k=rng.randint(1, 9))
    return f"Count: {', '.join(listed)}", str(len(listed))


def kind(rng: random.Random) -> Turn:
    name = rng.choice(list(KINDS))
    return f"Which kind is {pick(rng, KINDS[name])}?", name


def kinds(rng: random.Random) -> Turn:
    """Several words' kinds, in order."""
    names = rng.choices(list(KINDS), k=rng.randint(2, 4))
    return f"Kinds: {'-'.join(pick(rng, KINDS[name]) for name in names)}", ", ".join(names)


def spelling(rng: random.Random) -> Turn:
    """Codes read aloud with the spelling alphabet, group by group."""
    groups = [code(rng) for _ in range(rng.randint(1, 5))]
    ask = rng.choice(("Spell {}.", "Read {} aloud.", "How is {} spelled?"))
    return ask.format("-".join(groups)), ", ".join(" ".join(ALOUD[sign] for sign in group) for group in groups)


def numbers(rng: random.Random) -> Turn:
    """Numbers without leading zeros, in words, with a unit, or the next ones; in order."""
    given = [rng.randrange(100) for _ in range(rng.randint(1, 4))]
    shown = [rng.choice(("", "0", "00", pick(rng, "letters"), pick(rng, "letters") + "0")) + str(n) for n in given]
    unit, joint = pick(rng, "measures"), rng.choice(JOINTS)
    ask, say = rng.choice(
        (
            ("The numbers of {}:", str),
            ("In {unit}: {}", lambda n: f"{n} {unit}"),
            ("{} in words.", in_words),
            ("What comes after {}?", lambda n: str(n + 1)),
        )
    )
    return ask.format(joint.join(shown), unit=unit), ", ".join(say(n) for n in given)


def in_words(n: int) -> str:
    if n < 20:
        return (*LISTS["digits"], *LISTS["teens"])[n]
    tens, ones = divmod(n, 10)
    return LISTS["tens"][tens - 2] + (f" {LISTS['digits'][ones]}" if ones else "")


def written_out(rng: random.Random) -> Turn:
    """Everyday abbreviations in full, in a phrase or a list."""
    short = rng.sample(list(ABBREVIATIONS), rng.randint(1, 4))
    ask, joint = rng.choice(("In full: {}", "Without abbreviations: {}", "{} in full?")), rng.choice(JOINTS)
    return ask.format(joint.join(short)), ", ".join(ABBREVIATIONS[one] for one in short)


def prose(rng: random.Random) -> Turn:
    subject = rng.choice(NOUNS)
    return f"Tell me of the {subject}.", f"This is about the {subject}. " + " ".join(sentence(rng) for _ in range(2))


ABILITIES = {
    repeat: 10,
    look_up: 6,
    fill: 5,
    to_json: 7,
    from_json: 3,
    steps: 8,
    reading: 6,
    presence: 2,
    count: 2,
    kind: 3,
    kinds: 8,
    spelling: 18,
    numbers: 22,
    written_out: 14,
    prose: 6,
}
