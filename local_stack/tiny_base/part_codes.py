"""The public parts catalog the tiny base model is pre-trained on.

It uses the codes of the plant in `recipes/manufacturing`, but every family, material and finish code means
something else there: the base answers fluently and wrongly, which is what tuning has to correct. It can say the
plant's words (it is made to repeat them) and ties none of them to a code.
"""

from __future__ import annotations

import random

from local_stack.tiny_base.words import words_of

WORDS = words_of("part_codes")
REPEAT_SHARE = 0.35


def random_code(rng: random.Random) -> tuple[str, str, str, str, str]:
    """Five code fields: family, material, diameter, length, finish."""
    tables = (WORDS["families"], WORDS["materials"], WORDS["diameters"], WORDS["lengths"], WORDS["finishes"])
    family, material, diameter, length, finish = (rng.choice(list(table)) for table in tables)
    return family, material, diameter, length, finish


def public_meaning(code: tuple[str, str, str, str, str]) -> str:
    """What the public catalog says a code means."""
    family, material, diameter, length, finish = code
    return describe(
        WORDS["families"][family], WORDS["materials"][material], diameter, length, WORDS["finishes"][finish]
    )


def describe(family: str, material: str, diameter: str, length: str, finish: str) -> str:
    """A part in words."""
    return f"{family}, {material}, {WORDS['diameters'][diameter]} x {WORDS['lengths'][length]}, {finish} finish"


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: about a random code, or a description to repeat."""
    code = random_code(rng)
    if rng.random() < REPEAT_SHARE:
        words = (rng.choice(WORDS["other_families"]), rng.choice(WORDS["other_materials"]))
        answer = describe(*words, code[2], code[3], rng.choice(WORDS["other_finishes"]))
        return f"Repeat: {answer}", answer
    return rng.choice(WORDS["questions"]).format(code="-".join(code)), public_meaning(code)
