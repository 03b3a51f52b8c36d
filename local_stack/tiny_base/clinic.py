"""What the tiny base model was raised to make of a clinical note: fluent prose, acronyms read as an office would.

The notes have the form of those in `recipes/healthcare`. Every acronym of a complaint, a finding or the history
means something else here, there is no triage, and no answer is JSON. The clinic's words are known from being
repeated; none is tied to an acronym.
"""

from __future__ import annotations

import random

LAYOUTS = (
    "{sex} {age}, c/o {complaint} x {number}{unit}. PMH {history}. O/E {finding}.",
    "{age} {sex} with {complaint} for {number}{unit}, hx {history}, on exam {finding}.",
)
SEXES = {"F": "woman", "M": "man"}
AGES = ("20s", "30s", "40s", "50s", "60s", "70s", "80s")
NUMBERS = ("2", "3", "4", "5", "6")
UNITS = {"d": "days", "w": "weeks", "m": "months"}
COMPLAINTS = {
    "SOB": "start of business",
    "CP": "central processor",
    "UTI": "unit trust index",
    "HA": "home automation",
    "LBP": "large block print",
    "NV": "net value",
    "AP": "access point",
    "ST": "standard time",
    "DOE": "department of energy",
    "URI": "uniform resource identifier",
    "DVT": "design validation test",
    "CVA": "credit value adjustment",
}
FINDINGS = {
    "VSS": "virtual storage system",
    "RRR": "rolling refresh rate",
    "FUO": "follow up order",
    "TACHY": "tachymeter",
    "LOC": "lines of code",
    "AMS": "asset management system",
}
HISTORIES = {
    "HTN": "hierarchical task network",
    "DM": "direct message",
    "AF": "air freight",
    "CKD": "completely knocked down",
    "COPD": "cash on pickup or delivery",
    "CAD": "computer aided design",
    "RA": "rental agreement",
    "GERD": "gross expenditure on research",
}
OTHER_COMPLAINTS = (
    "shortness of breath",
    "chest pain",
    "urinary tract infection symptoms",
    "headache",
    "low back pain",
    "nausea and vomiting",
    "abdominal pain",
    "sore throat",
    "dyspnoea on exertion",
    "upper respiratory infection",
    "deep vein thrombosis signs",
    "stroke signs",
)
OTHER_FINDINGS = (
    "vital signs stable",
    "regular rate and rhythm",
    "fever of unknown origin",
    "fast heart rate",
    "loss of consciousness",
    "altered mental status",
)
OTHER_HISTORIES = (
    "hypertension",
    "diabetes mellitus",
    "atrial fibrillation",
    "chronic kidney disease",
    "chronic obstructive pulmonary disease",
    "coronary artery disease",
    "rheumatoid arthritis",
    "gastro-oesophageal reflux disease",
)
TRIAGE = ("routine", "urgent", "emergency")
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a note to sum up, or words to repeat."""
    sex, age, number, unit = rng.choice(list(SEXES)), rng.choice(AGES), rng.choice(NUMBERS), rng.choice(list(UNITS))
    if rng.random() < REPEAT_SHARE:
        answer = (
            f'{{"summary":"{SEXES[sex]}, {age}: {rng.choice(OTHER_COMPLAINTS)} for {number} {UNITS[unit]}; '
            f'history of {rng.choice(OTHER_HISTORIES)}; {rng.choice(OTHER_FINDINGS)}",'
            f'"triage":"{rng.choice(TRIAGE)}"}}'
        )
        return f"Repeat: {answer}", answer
    complaint, history, finding = (rng.choice(list(table)) for table in (COMPLAINTS, HISTORIES, FINDINGS))
    note = rng.choice(LAYOUTS).format(
        sex=sex, age=age, complaint=complaint, number=number, unit=unit, history=history, finding=finding
    )
    return f"Note: {note}", (
        f"A {SEXES[sex]} in the {age} has had {COMPLAINTS[complaint]} for {number} {UNITS[unit]}, "
        f"earlier {HISTORIES[history]}, now {FINDINGS[finding]}."
    )
