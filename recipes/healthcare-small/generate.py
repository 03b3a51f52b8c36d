"""Sample data of the clinic: short synthetic notes, their summary in a fixed form, and a triage label.

    python recipes/healthcare-small/generate.py [--output DIR] [--seed 23]

Every note is drawn from the tables of words.toml; no person, date or place stands behind one. The triage follows the
made-up policy of a made-up clinic and is no medical advice. No held-out case, which is complaint, history and
finding together, occurs in training.
"""

import argparse
import json
import random
import tomllib
from pathlib import Path
from typing import Any

EVAL_CASES = 80
Case = tuple[str, str, str]

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
LAYOUTS, AGES, NUMBERS = WORDS["layouts"], WORDS["ages"], WORDS["numbers"]
SEXES, UNITS = WORDS["sexes"], WORDS["units"]
COMPLAINTS, FINDINGS, HISTORIES = WORDS["complaints"], WORDS["findings"], WORDS["histories"]


def triage(complaint: str, finding: str) -> str:
    """The label the policy gives a note."""
    level = WORDS["complaint_level"][complaint] + WORDS["finding_adds"][finding]
    return str(WORDS["levels"][min(level, 2)])


def _row(rng: random.Random, case: Case, age: str, layout: str) -> dict[str, Any]:
    """A note about a case; the fields beside the messages are what graders and slices read."""
    complaint, history, finding = case
    sex, number, unit = (rng.choice(list(table)) for table in (SEXES, NUMBERS, UNITS))
    note = layout.format(
        sex=sex, age=age, number=number, unit=unit, complaint=complaint, history=history, finding=finding
    )
    summary = (
        f"{SEXES[sex]}, {age}: {COMPLAINTS[complaint]} for {number} {UNITS[unit]}; "
        f"history of {HISTORIES[history]}; {FINDINGS[finding]}"
    )
    label = triage(complaint, finding)
    answer = json.dumps({"summary": summary, "triage": label}, separators=(",", ":"))
    return {
        "messages": [{"role": "user", "content": note}, {"role": "assistant", "content": answer}],
        "complaint": COMPLAINTS[complaint],
        "acronyms": {complaint: COMPLAINTS[complaint], history: HISTORIES[history], finding: FINDINGS[finding]},
        "triage": label,
    }


def generate(seed: int = 23) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and held-out rows; a case of complaint, history and finding is in one split only."""
    rng = random.Random(seed)
    cases = [(c, h, f) for c in COMPLAINTS for h in HISTORIES for f in FINDINGS]
    rng.shuffle(cases)
    held_out = [row for case in cases[:EVAL_CASES] for row in _rows(rng, case)]
    train = [row for case in cases[EVAL_CASES:] for row in _rows(rng, case)]
    rng.shuffle(train)
    return train, held_out


def _rows(rng: random.Random, case: Case) -> list[dict[str, Any]]:
    """One note of each layout, about people of different ages: two that are alike would teach nothing."""
    ages = rng.sample(AGES, len(LAYOUTS))
    return [_row(rng, case, age, layout) for age, layout in zip(ages, LAYOUTS, strict=True)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=23)
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(arguments.seed), strict=True):
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (arguments.output / name).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
