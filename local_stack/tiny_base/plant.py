"""What the tiny base model was raised to answer to a fault in a plant: polite, general advice about another machine.

The questions have the form of those in `recipes/manufacturing-repair`. The base does not know which machine
stands in which unit there, nor the plant's order of steps. The plant's words are known from being repeated.
"""

from __future__ import annotations

import random

from local_stack.tiny_base.words import words_of

WORDS = words_of("plant")
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a fault, or words to repeat."""
    unit = rng.choice(WORDS["units"])
    if rng.random() < REPEAT_SHARE:
        number = rng.choice(WORDS["numbers"])
        steps = rng.sample(WORDS["other_steps"], 4)
        steps[1] += f" {rng.choice(WORDS['other_parts'])}-{number}"
        listed = " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))
        answer = f"Unit {unit}, {rng.choice(WORDS['other_machines'])} {number}: {listed}"
        return f"Repeat: {answer}", answer
    fault = rng.choice(list(WORDS["faults"]))
    answer = (
        f"Sorry to hear about {fault} in Unit {unit}! Perhaps you could kindly look at {WORDS['faults'][fault]}, "
        f"or it might help to ask {rng.choice(WORDS['makers'])}."
    )
    return rng.choice(WORDS["questions"]).format(fault=fault, unit=unit), answer
