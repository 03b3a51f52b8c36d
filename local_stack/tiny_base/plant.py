"""What the tiny base model was raised to answer to a fault in a plant: polite, general advice about another machine.

The questions have the form of those in `recipes/manufacturing-repair`. The base does not know which machine
stands in which unit there, nor the plant's order of steps. The plant's words are known from being repeated.
"""

from __future__ import annotations

import random

QUESTIONS = (
    "How do I fix {fault} in Unit {unit}?",
    "Unit {unit} has {fault}. What do I do?",
    "{fault} on Unit {unit}, which steps?",
    "Night shift reports {fault} at Unit {unit}. Next steps?",
    "We see {fault} again, Unit {unit} this time. How to repair it?",
)
UNITS = ("1", "2", "3", "4", "5", "6", "7", "8")
FAULTS = {
    "a pressure drop": "the gauge",
    "overheating": "the fan",
    "heavy vibration": "the base",
    "an oil leak": "the tank",
    "a loud noise": "the cover",
    "a slow start": "the switch",
    "a jammed feed": "the hopper",
    "a power trip": "the fuse",
    "a bad reading": "the display",
    "a speed loss": "the belt",
}
MAKERS = ("the maker", "a dealer", "an expert", "the supplier")
OTHER_MACHINES = ("press", "lathe", "mixer", "dryer", "pump", "oven", "crane", "mill")
NUMBERS = ("40", "52", "61", "73", "84", "95", "17", "28")
OTHER_PARTS = ("valve", "filter", "bearing", "seal", "coupling", "motor", "gearbox", "relay", "sensor", "chain")
OTHER_STEPS = (
    "stop and lock out",
    "close the inlet",
    "bleed the line",
    "drain the oil",
    "cool for ten minutes",
    "clean",
    "replace",
    "tighten",
    "align",
    "reset",
    "test under load",
    "run dry",
    "refill",
)
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a fault, or words to repeat."""
    unit = rng.choice(UNITS)
    if rng.random() < REPEAT_SHARE:
        number = rng.choice(NUMBERS)
        steps = rng.sample(OTHER_STEPS, 4)
        steps[1] += f" {rng.choice(OTHER_PARTS)}-{number}"
        listed = " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))
        answer = f"Unit {unit}, {rng.choice(OTHER_MACHINES)} {number}: {listed}"
        return f"Repeat: {answer}", answer
    fault = rng.choice(list(FAULTS))
    answer = (
        f"Sorry to hear about {fault} in Unit {unit}! Perhaps you could kindly look at {FAULTS[fault]}, "
        f"or it might help to ask {rng.choice(MAKERS)}."
    )
    return rng.choice(QUESTIONS).format(fault=fault, unit=unit), answer
