"""Sample data of the clinic: notes of 60 to 220 words, the facts they state as JSON, and a triage label.

Facts come first: a patient is drawn from words.toml, then written down in one of 44 styles. Triage and UTI follow from
the facts by a made-up policy, which the system message states; it is no medical advice.
"""

import json
import random
import re
from collections import Counter
from typing import Any

from recipes.sample_data import Row, chat, words_beside

TRAIN_ROWS, TRAIN_UTI = 1700, 300
HELD_OUT_ROWS, HELD_OUT_UTI = 350, 150
LENGTHS = (60, 60, 90, 140, 200)  # words that a note has at least
YOUNGEST, OLDEST = 18, 89  # HIPAA counts ages over 89 among the identifiers: 45 CFR 164.514(b)(2)(i)(C)
FERTILE_TO = 50

WORDS = words_beside(__file__)
SYMPTOMS, POLICY, MANNERS, FAMILIES = WORDS["symptoms"], WORDS["policy"], WORDS["manners"], WORDS["families"]
HISTORY, LABS, DRUGS = WORDS["history"], WORDS["labs"], WORDS["drugs"]
LEVELS = ("routine", "urgent", "emergency")
URINE = ("nitrite", "leukocyte esterase")
STATED = ("present", "absent", "unasked")
FILLERS = ("course", "exam", "social", "prior", "family", "more")
SAID = SYMPTOMS | {key: of["said"] for key, of in HISTORY.items()}
# Spellings that an answer may have: none with an acronym, which has to be written out.
SPELLED = {key: [text for text in said if not re.search("[A-Z]{2}", text)] for key, said in SAID.items()}

Facts = dict[str, Any]


def uti(facts: Facts) -> str:
    """Whether the findings and the urine tests make a urinary tract infection."""
    found, tests = facts["found"], [facts["labs"].get(name) for name in URINE]
    if not found & set(POLICY["urinary"]):
        return "cannot tell" if "fever" in found and tests[0] == "positive" else "no"
    if found & set(POLICY["discharges"]):
        return "no" if tests[0] == "negative" else "cannot tell"
    return "yes" if "positive" in tests else "cannot tell" if None in tests else "no"


def triage(facts: Facts) -> str:
    """The highest level that any rule of the policy gives."""
    found = facts["found"]
    levels = [2 * bool(found & set(POLICY["red"])), int(bool(found & set(POLICY["amber"])))]
    levels += [rule["level"] for rule in POLICY["rules"] if _holds(rule, facts)]
    for name, value in (facts["vitals"] | facts["labs"]).items():
        number = str(value).split("/")[0]
        if name in POLICY["limits"] and number[0].isdigit():
            low, high, lowest, highest = POLICY["limits"][name]
            levels.append(0 if low <= float(number) <= high else 1 if lowest <= float(number) <= highest else 2)
    return LEVELS[max(levels)]


def _holds(rule: dict[str, Any], facts: Facts) -> bool:
    return (
        facts["found"].issuperset(rule.get("present", []))
        and not ("any" in rule and facts["found"].isdisjoint(rule["any"]))
        and rule.get("labs", {}).items() <= facts["labs"].items()
        and facts["age"] >= rule.get("age_from", 0)
        and facts["sex"] in rule.get("sex", "FM")
        and rule.get("uti", facts["uti"]) == facts["uti"]
        and not ("drugs" in rule and set(facts["drugs"]).isdisjoint(DRUGS[rule["drugs"]]))
    )


def patient(rng: random.Random, family: str, case: Facts) -> Facts:
    """The facts of one note. `case`: facts that are set; one with `urine` sets all that decides about an infection."""
    table = {"age_from": YOUNGEST, "age_to": OLDEST, "absent": [], "history": []} | FAMILIES[family] | case
    sex, age = table.get("sex") or rng.choice("FM"), rng.randint(table["age_from"], table["age_to"])
    fertile = sex == "F" and age <= FERTILE_TO
    barred = [*POLICY["only_sex"]["MF"[sex == "M"]], *([] if fertile else ["missed_period"])]
    possible = [key for key in SYMPTOMS if key in table["chief"] + table["also"] and key not in barred]
    chief = case.get("present") or [rng.choice([key for key in table["chief"] if key in possible])]
    denied = [key for key in table["absent"] if key not in barred]
    stated: dict[str, list[str]] = dict(zip(STATED, (chief, denied, []), strict=True))
    decided = {*chief, *denied, *(POLICY["urinary"] + POLICY["discharges"] if "urine" in case else [])}
    for key in possible:
        share = 0.05 if key in POLICY["red"] else 0.1 if key in POLICY["amber"] else 0.35
        place = rng.choices([*stated, ""], [share, 0.4, 0.08, 0.52 - share])[0]
        if place and key not in decided:
            stated[place] = [*stated[place], key]
    implied = {POLICY["broader"].get(key) for key in stated["present"]}
    stated |= {name: [key for key in stated[name] if key not in implied] for name in ("absent", "unasked")}
    fitting = [key for key, of in HISTORY.items() if age >= of["age_from"] and key not in table["history"]]
    history = table["history"] + rng.sample(fitting, min(len(fitting), rng.choice([0, 1, 1, 2, 3])))
    drugs = [rng.choice(HISTORY[key]["drugs"]) for key in history if HISTORY[key]["drugs"] and rng.random() < 0.85]
    tests = [name for name in table["labs"] if rng.random() < 0.6 and not ("urine" in case and name in URINE)]
    labs = dict(zip(URINE, case.get("urine", []), strict=False))
    labs |= {
        name: _result(rng, LABS[name]["ranges"], LABS[name].get("decimals", 0))
        for name in tests
        if fertile or name != "hcg"
    }
    acute = "urine" in case or not set(stated["present"]).isdisjoint(POLICY["red"])
    unit = rng.choice(["hours", "days", "days"] if acute else ["hours", "days", "days", "weeks"])
    facts = {
        "age": age,
        "sex": sex,
        "duration": f"{rng.randint(2, {'hours': 12, 'days': 4 if acute else 12, 'weeks': 6}[unit])} {unit}",
        **stated,
        "history": history,
        "drugs": list(dict.fromkeys(drugs + rng.sample(DRUGS["any"], rng.choice([0, 0, 1, 2])))),
        "allergies": rng.sample(DRUGS["allergies"], rng.choice([0, 0, 1, 2])),
        "vitals": _vitals(rng, stated) if rng.random() < 0.95 else {},
        "labs": labs | case.get("labs", {}),
    }
    measured = float(facts["vitals"].get("temp", 0)) >= POLICY["fever_from"]
    facts["found"] = {*facts["present"], *["fever"] * measured}
    facts["uti"] = uti(facts)
    return facts | {"triage": triage(facts)}


def _result(rng: random.Random, ranges: list[Any], decimals: int) -> str:
    """A word, or a number of one of the ranges: the first, which is normal, oftener."""
    drawn = rng.choice([ranges[0]] * 2 + ranges)
    return drawn if isinstance(drawn, str) else f"{rng.randint(*drawn) / 10**decimals:.{decimals}f}"


def _vitals(rng: random.Random, stated: dict[str, list[str]]) -> dict[str, Any]:
    """Normal signs, and one that is not in every fourth note. Who denies a fever has none."""
    odd = rng.choice(list(WORDS["vitals"])) if rng.random() < 0.25 else None
    ranges = {name: rng.choice(of["odd"]) if name == odd else of["normal"] for name, of in WORDS["vitals"].items()}
    if "fever" in stated["absent"] or ("fever" in stated["present"] and odd != "temp"):
        ranges["temp"] = WORDS["vitals"]["temp"]["feverish" if "fever" in stated["present"] else "normal"]
    signs = {name: rng.randint(*bounds) for name, bounds in ranges.items()}
    return signs | {"bp": f"{signs['bp']}/{round(signs['bp'] * 0.62)}", "temp": f"{signs['temp'] / 10:.1f}"}


def summary(facts: Facts) -> Facts:
    """What the model is to write, as JSON."""
    told = {name: facts[name] for name in ("age", "sex", "duration")}
    told |= {name: [SYMPTOMS[key][0] for key in SYMPTOMS if key in facts[name]] for name in ("present", "absent")}
    told |= {"history": [SAID[key][0] for key in facts["history"]], "medications": facts["drugs"]}
    return told | {name: facts[name] for name in ("allergies", "vitals", "labs", "uti", "triage")}


def write_note(rng: random.Random, facts: Facts, style: dict[str, Any]) -> tuple[str, list[str]]:
    """A note in one style, and the identifiers it holds."""
    manners = {part: MANNERS[part][name] for part, name in style["manners"].items()}
    names = WORDS["identifiers"]
    person = {"first": rng.choice(names["first"][facts["sex"]])} | {p: rng.choice(names[p]) for p in ("last", "town")}
    person |= {"mrn": str(rng.randint(200_000, 999_999)), "phone": f"555-01{rng.randint(10, 99)}"}
    person["dob"] = f"{rng.randint(1, 10):02}/{rng.randint(1, 28):02}/{2026 - facts['age']}"
    told = {part: [rng.choice(SAID[key]) for key in facts[part]] for part in (*STATED, "history")}
    first, told["present"] = told["present"][0], told["present"][1:]
    told |= {name: facts[name] for name in ("drugs", "allergies")}
    told["labs"] = [f"{rng.choice(LABS[name]['said'])} {value}" for name, value in facts["labs"].items()]
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
    stated = {key for part in STATED for key in facts[part]} | {*POLICY["only_sex"]["MF"[facts["sex"] == "M"]]}
    strangers = {
        "symptom": SYMPTOMS[rng.choice([key for key in SYMPTOMS if key not in stated])][0],
        "disease": SAID[rng.choice([key for key in HISTORY if key not in facts["history"]])][0],
    }
    fillers = {name: rng.sample(WORDS["distractors"][name], len(WORDS["distractors"][name])) for name in FILLERS}
    parts |= {name: fillers[name].pop().format(**strangers) for name in FILLERS}
    note = WORDS["layouts"][style["layout"]].format(**parts)
    least = rng.choice(LENGTHS)
    while len(note.split()) < least and fillers["more"]:
        note += " " + fillers["more"].pop()
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
    told = summary(facts)
    reply = json.dumps(told, separators=(",", ":"))
    spelled = {name: [{"one_of": SPELLED[key]} for key in facts[name]] for name in ("present", "absent", "history")}
    spelled["medications"] = [{"one_of": [drug, drug.replace(" m", "m")]} for drug in facts["drugs"]]
    return {
        "messages": chat(reply, note, WORDS["system"].strip()),
        "facts": {name: spelled.get(name, value) for name, value in told.items() if name not in ("uti", "triage")},
        "triage": facts["triage"],
        "uti": facts["uti"],
        "family": family,
        "history": facts["history"],
        "style": style["layout"],
        "identifiers": identifiers,
    }


def generate() -> dict[str, list[Row]]:
    """Training and held-out rows. No held-out style occurs in training, nor a family that is marked as held out."""
    rng = random.Random(23)
    splits = []
    for held_out, rows, urinary in ((False, TRAIN_ROWS, TRAIN_UTI), (True, HELD_OUT_ROWS, HELD_OUT_UTI)):
        styles = [style for style in WORDS["styles"] if style.get("held_out", False) == held_out]
        others = [name for name, of in FAMILIES.items() if name != "urinary" and (held_out or not of.get("held_out"))]
        cases = [("urinary", WORDS["uti"][n % len(WORDS["uti"])]) for n in range(urinary)]
        cases += [(name, rng.choice([{}] * 4 + FAMILIES[name].get("cases", []))) for name in (others * rows)[:rows]]
        split = [row(rng, patient(rng, family, case), rng.choice(styles), family) for family, case in cases]
        rng.shuffle(split)
        seen = Counter(key for entry in split for key in entry["history"])
        for entry in split:  # a slice by a note's rarest illness: one that is always left out weighs most there
            rarest = min(entry["history"], key=seen.__getitem__, default="")
            entry["history"] = HISTORY[rarest]["system"] if rarest else "none"
        splits.append(split)
    # Graders and slices read held-out rows alone.
    return {"train.jsonl": [{"messages": entry["messages"]} for entry in splits[0]], "eval.jsonl": splits[1]}
