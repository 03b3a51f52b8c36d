"""Sample data of the clinic: notes of 60 to 250 words, the facts they state as JSON, and a triage label.

    python recipes/healthcare/generate.py [DIR]

Facts come first: a patient is drawn from words.toml, then written down in one of 44 styles. Triage and UTI follow from
the facts by a made-up policy, which the system message states; it is no medical advice.
"""

import json
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

TRAIN_ROWS, TRAIN_UTI = 1700, 300
HELD_OUT_ROWS, HELD_OUT_UTI = 350, 150
LENGTHS = (60, 60, 90, 140, 200)  # words that a note has at least
FERTILE_TO = 50

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
SYMPTOMS, POLICY, MANNERS, FAMILIES = WORDS["symptoms"], WORDS["policy"], WORDS["manners"], WORDS["families"]
LEVELS = ("routine", "urgent", "emergency")
URINE = ("nitrite", "leukocyte esterase")
FILLERS = ("course", "exam", "social", "prior", "family")

Facts = dict[str, Any]
Row = dict[str, Any]


def uti(facts: Facts) -> str:
    """A symptom of the urinary tract and a positive test, unless a discharge explains the symptom."""
    present, tests = set(facts["present"]), [facts["labs"].get(name) for name in URINE]
    if not present & set(POLICY["urinary"]) or present & set(POLICY["discharges"]):
        return "no"
    return "cannot tell" if None in tests else "yes" if "positive" in tests else "no"


def triage(facts: Facts) -> str:
    """The highest level that any rule of the policy gives."""
    present = set(facts["present"])
    levels = [2 * bool(present & set(POLICY["red"])), int(bool(present & set(POLICY["amber"])))]
    levels += [rule["level"] for rule in POLICY["rules"] if _holds(rule, facts, present)]
    for name, value in facts["vitals"].items():
        low, high, lowest, highest = POLICY["vitals"][name]
        number = float(str(value).split("/")[0])
        levels.append(0 if low <= number <= high else 1 if lowest <= number <= highest else 2)
    return LEVELS[max(levels)]


def _holds(rule: dict[str, Any], facts: Facts, present: set[str]) -> bool:
    return (
        present.issuperset(rule.get("present", []))
        and rule.get("labs", {}).items() <= facts["labs"].items()
        and facts["age"] >= rule.get("age_from", 0)
        and facts["sex"] in rule.get("sex", "FM")
        and rule.get("uti", facts["uti"]) == facts["uti"]
        and (not rule.get("anticoagulant") or bool(set(facts["drugs"]) & set(WORDS["drugs"]["anticoagulants"])))
    )


def patient(rng: random.Random, family: str, case: Facts) -> Facts:
    """The facts of one note. A case of the urinary family sets what decides about an infection."""
    table = FAMILIES[family]
    sex = case.get("sex") or table.get("sex") or rng.choice("FM")
    age = rng.randint(18, table.get("age_to", 92))
    fertile = sex == "F" and age <= FERTILE_TO
    barred = [*POLICY["only_sex"]["MF"[sex == "M"]], *([] if fertile else ["missed_period"])]
    possible = [key for key in SYMPTOMS if key in table["chief"] + table["also"] and key not in barred]
    chief = case.get("present") or [rng.choice([key for key in table["chief"] if key in possible])]
    stated: dict[str, list[str]] = {"present": chief, "absent": case.get("absent", []), "unasked": []}
    decided = {*chief, *stated["absent"], *(POLICY["urinary"] + POLICY["discharges"] if case else [])}
    for key in possible:
        share = 0.05 if key in POLICY["red"] else 0.1 if key in POLICY["amber"] else 0.35
        place = rng.choices([*stated, ""], [share, 0.4, 0.08, 0.52 - share])[0]
        if place and key not in decided:
            stated[place] = [*stated[place], key]
    tests = [name for name in table["labs"] if rng.random() < 0.6 and not (case and name in URINE)]
    labs = dict(zip(URINE, case.get("urine", []), strict=False))
    labs |= {name: rng.choice(WORDS["labs"][name]) for name in tests if fertile or name != "hcg"}
    drugs = rng.sample(WORDS["drugs"]["names"], rng.randint(0, 3))
    facts = {
        "age": age,
        "sex": sex,
        "duration": f"{rng.randint(2, 12)} {rng.choice(['hours', 'days', 'days', 'weeks'])}",
        **stated,
        "history": rng.sample(list(WORDS["history"]), rng.choice([0, 1, 1, 2, 3])),
        "drugs": drugs + ([rng.choice(WORDS["drugs"]["anticoagulants"])] if rng.random() < 0.12 else []),
        "allergies": rng.sample(WORDS["drugs"]["allergies"], rng.choice([0, 0, 1, 2])),
        "vitals": _vitals(rng) if rng.random() < 0.95 else {},
        "labs": labs,
    }
    facts["uti"] = uti(facts)
    return facts | {"triage": triage(facts)}


def _vitals(rng: random.Random) -> dict[str, Any]:
    """Normal signs, and one that is not in every fourth note."""
    odd = rng.choice(list(WORDS["vitals"])) if rng.random() < 0.25 else None
    ranges = {name: rng.choice(of["odd"]) if name == odd else of["normal"] for name, of in WORDS["vitals"].items()}
    signs = {name: rng.randint(*bounds) for name, bounds in ranges.items()}
    return signs | {"bp": f"{signs['bp']}/{round(signs['bp'] * 0.62)}", "temp": f"{signs['temp'] / 10:.1f}"}


def answer(facts: Facts) -> str:
    """The JSON that the model is to write."""
    summary = {name: facts[name] for name in ("age", "sex", "duration")}
    summary |= {name: [SYMPTOMS[key][0] for key in SYMPTOMS if key in facts[name]] for name in ("present", "absent")}
    summary |= {"history": [WORDS["history"][key][0] for key in facts["history"]], "medications": facts["drugs"]}
    summary |= {name: facts[name] for name in ("allergies", "vitals", "labs", "uti", "triage")}
    return json.dumps(summary, separators=(",", ":"))


def write_note(rng: random.Random, facts: Facts, style: dict[str, Any]) -> tuple[str, list[str]]:
    """A note in one style, and the identifiers it holds."""
    manners = {part: MANNERS[part][name] for part, name in style["manners"].items()}
    person = {part: rng.choice(WORDS["identifiers"][part]) for part in ("first", "last", "town")}
    person |= {"mrn": str(rng.randint(200_000, 999_999)), "phone": f"555-01{rng.randint(10, 99)}"}
    person["dob"] = f"{rng.randint(1, 12):02}/{rng.randint(1, 28):02}/{2026 - facts['age']}"
    told = {name: [rng.choice(SYMPTOMS[key]) for key in facts[name]] for name in ("present", "absent", "unasked")}
    first, told["present"] = told["present"][0], told["present"][1:]
    told["history"] = [rng.choice(WORDS["history"][key]) for key in facts["history"]]
    told |= {name: facts[name] for name in ("drugs", "allergies")}
    told["labs"] = [f"{name} {value}" for name, value in facts["labs"].items()]
    parts = {}
    for name, entries in told.items():
        empty = MANNERS.get(f"no_{name}", {}).get(style["manners"][name], "")
        parts[name] = manners[name].format(list=", ".join(entries)) if entries else empty
    noun = {"F": "woman", "M": "man"}[facts["sex"]]
    parts |= {
        "who": manners["who"].format(age=facts["age"], sex=facts["sex"], noun=noun),
        "chief": manners["chief"].format(symptom=first, duration=facts["duration"]),
        "vitals": manners["vitals"].format(**facts["vitals"]) if facts["vitals"] else "Vital signs not taken yet.",
        "ids": MANNERS["ids"][style["ids"]].format(**person) if "ids" in style else "",
    }
    stated = {*facts["present"], *facts["absent"], *facts["unasked"]}
    strangers = {
        "symptom": SYMPTOMS[rng.choice([key for key in SYMPTOMS if key not in stated])][0],
        "disease": WORDS["history"][rng.choice([key for key in WORDS["history"] if key not in facts["history"]])][0],
    }
    fillers = {name: rng.sample(WORDS["distractors"][name], len(WORDS["distractors"][name])) for name in FILLERS}
    parts |= {name: fillers[name].pop().format(**strangers) for name in FILLERS}
    note = WORDS["layouts"][style["layout"]].format(**parts)
    more = fillers["course"] + fillers["exam"] + fillers["social"]
    rng.shuffle(more)
    least = rng.choice(LENGTHS)
    while len(note.split()) < least and more:
        note += " " + more.pop()
    return _worn(rng, note, style, person), [value for value in person.values() if value in note]


def _worn(rng: random.Random, note: str, style: dict[str, Any], person: dict[str, str]) -> str:
    """Letters swapped and case changed, as the style has it; names keep their letters."""
    words = note.split(" ")
    for place, word in enumerate(words):
        if len(word) > 5 and word.isalpha() and word not in person.values() and rng.random() < style.get("typos", 0):
            cut = rng.randint(1, len(word) - 3)
            words[place] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    text = " ".join(word for word in words if word)
    return {"lower": text.lower(), "upper": text.upper()}.get(style.get("case", ""), text)


def row(rng: random.Random, facts: Facts, style: dict[str, Any], family: str) -> Row:
    """A note with its answer; the fields beside the messages are what graders and slices read."""
    note, identifiers = write_note(rng, facts, style)
    turns = [("system", WORDS["system"].strip()), ("user", note), ("assistant", answer(facts))]
    stated = {name: [{"one_of": SYMPTOMS[key]} for key in facts[name]] for name in ("present", "absent")}
    known = [{"one_of": WORDS["history"][key]} for key in facts["history"]]
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "facts": json.loads(answer(facts)) | stated | {"history": known},
        "triage": facts["triage"],
        "uti": facts["uti"],
        "family": family,
        "style": style["layout"],
        "identifiers": identifiers,
    }


def generate() -> tuple[list[Row], list[Row]]:
    """Training and held-out rows. No held-out style occurs in training, nor a family that is marked as held out."""
    rng = random.Random(23)
    splits = []
    for held_out, rows, urinary in ((False, TRAIN_ROWS, TRAIN_UTI), (True, HELD_OUT_ROWS, HELD_OUT_UTI)):
        styles = [style for style in WORDS["styles"] if style.get("held_out", False) == held_out]
        others = [name for name, of in FAMILIES.items() if name != "urinary" and (held_out or not of.get("held_out"))]
        cases = [("urinary", WORDS["uti"][n % len(WORDS["uti"])]) for n in range(urinary)]
        cases += [(others[n % len(others)], {}) for n in range(rows)]
        split = [row(rng, patient(rng, family, case), rng.choice(styles), family) for family, case in cases]
        rng.shuffle(split)
        splits.append(split)
    # Graders and slices read held-out rows alone.
    return [{"messages": entry["messages"]} for entry in splits[0]], splits[1]


def main(folder: Path = Path(__file__).parent) -> None:
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
