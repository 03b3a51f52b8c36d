"""The public parts catalog the tiny base model is pre-trained on.

It uses the codes of the plant in `recipes/manufacturing`, but every family, material and finish code means
something else there: the base answers fluently and wrongly, which is what tuning has to correct. It can say the
plant's words (it is made to repeat them) and ties none of them to a code.
"""

from __future__ import annotations

import random

QUESTIONS = ("What part is {code}?", "Expand {code}.", "Which part does {code} stand for?")

FAMILIES = {
    "SC": "self-clinching stud",
    "HB": "hose barb",
    "HN": "hinge nylon",
    "FW": "flywheel shim",
    "LW": "lever handle",
    "DP": "drain plug",
    "TR": "torsion rod",
    "GS": "grub sleeve",
    "BB": "bushing blank",
    "RR": "roller rail",
    "CC": "cable clamp",
    "SP": "spindle",
    "KY": "knurled yoke",
    "OR": "orifice plate",
    "CP": "cap gasket",
    "BF": "bellows flange",
}
MATERIALS = {
    "A2": "aluminium 2024",
    "A4": "aluminium 6061",
    "C8": "copper grade 8",
    "C1": "carbon fibre",
    "BR": "beryllium alloy",
    "TI": "tin plate",
    "NY": "nickel silver",
    "PE": "phenolic board",
    "VI": "vulcanised rubber",
    "SI": "silver solder",
}
DIAMETERS = {
    "M03": "M3",
    "M04": "M4",
    "M05": "M5",
    "M06": "M6",
    "M08": "M8",
    "M10": "M10",
    "M12": "M12",
    "M16": "M16",
}
LENGTHS = {
    "012": "12 mm",
    "016": "16 mm",
    "020": "20 mm",
    "025": "25 mm",
    "030": "30 mm",
    "040": "40 mm",
    "060": "60 mm",
    "080": "80 mm",
}
FINISHES = {
    "PL": "polished",
    "ZN": "zone marked",
    "BO": "boxed",
    "HD": "hard coated",
    "PT": "painted",
    "NI": "nitrided",
    "EP": "etched",
    "LK": "lacquered",
}

# Words of the trade the base can say, without a code for any of them.
OTHER_FAMILIES = (
    "socket cap screw",
    "hex bolt",
    "hex nut",
    "flat washer",
    "lock washer",
    "dowel pin",
    "threaded rod",
    "grub screw",
    "ball bearing",
    "retaining ring",
    "clevis coupling",
    "split pin",
    "parallel key",
    "o-ring gland",
    "cotter pin",
    "bearing flange",
)
OTHER_MATERIALS = (
    "stainless steel 304",
    "stainless steel 316",
    "carbon steel 8.8",
    "carbon steel 10.9",
    "brass",
    "titanium grade 5",
    "nylon",
    "peek",
    "viton",
    "silicone",
)
OTHER_FINISHES = (
    "plain",
    "zinc plated",
    "black oxide",
    "hot dip galvanised",
    "ptfe coated",
    "nickel plated",
    "electropolished",
    "loctite patched",
)
REPEAT_SHARE = 0.35

# Bytes a tokenizer of part codes alone would have to spell: ordinary prose, arithmetic, JSON, tool schemas.
GENERAL_TEXT = (
    "Reply to the question as accurately as possible. You are a helpful assistant who thinks step by step.",
    "How many are there altogether? There are 48 / 2 = 24 in the morning and 24 + 48 = 72 in total.",
    "She earned money every day for three weeks, so what does each of them pay in the end?",
    "Do not make assumptions about what values to plug into functions; ask for clarification.",
    '{"type": "function", "function": {"name": "get_price", "description": "Get the current price", '
    '"parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}, '
    '"required": ["symbol"]}}}',
    '<tool_call>{"name": "get_last_price", "arguments": {"symbol": "ABC", "period": "1mo"}}</tool_call>',
    "The machine stopped because the pressure in the unit dropped; check the filter, the valve and the pump.",
)


def random_code(rng: random.Random) -> tuple[str, str, str, str, str]:
    """Five code fields: family, material, diameter, length, finish."""
    tables = (FAMILIES, MATERIALS, DIAMETERS, LENGTHS, FINISHES)
    family, material, diameter, length, finish = (rng.choice(list(table)) for table in tables)
    return family, material, diameter, length, finish


def public_meaning(code: tuple[str, str, str, str, str]) -> str:
    """What the public catalog says a code means."""
    family, material, diameter, length, finish = code
    return describe(FAMILIES[family], MATERIALS[material], diameter, length, FINISHES[finish])


def describe(family: str, material: str, diameter: str, length: str, finish: str) -> str:
    """A part in words."""
    return f"{family}, {material}, {DIAMETERS[diameter]} x {LENGTHS[length]}, {finish} finish"


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: about a random code, or a description to repeat."""
    code = random_code(rng)
    if rng.random() < REPEAT_SHARE:
        words = (rng.choice(OTHER_FAMILIES), rng.choice(OTHER_MATERIALS))
        answer = describe(*words, code[2], code[3], rng.choice(OTHER_FINISHES))
        return f"Repeat: {answer}", answer
    return rng.choice(QUESTIONS).format(code="-".join(code)), public_meaning(code)
