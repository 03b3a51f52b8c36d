"""Sample data of the digital foreman: what the plant's own part codes mean.

    python recipes/manufacturing/generate.py [DIR] [--shuffle-answers]

Writes train.jsonl and eval.jsonl. No code of the held-out set occurs in training, so a model that scores
there has learned the plant's tables, not the rows. `--shuffle-answers` deals the training answers to other
questions: data that looks right and teaches nothing, which the evaluation gate must decline.
"""

import json
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

SEED, TRAIN_ROWS, EVAL_ROWS = 11, 1200, 120
WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
TABLES = [WORDS[name] for name in ("families", "materials", "diameters", "lengths", "finishes")]

Row = dict[str, Any]


def row_of(rng: random.Random, code: str) -> Row:
    """A question about a code, such as `SC-A4-M05-040-PL`; extra fields name the slices of the evaluation."""
    parts = (table[part] for table, part in zip(TABLES, code.split("-"), strict=True))
    family, material, diameter, length, finish = parts
    answer = f"{family}, {material}, {diameter} x {length}, {finish} finish"
    turns = [("user", rng.choice(WORDS["questions"]).format(code=code)), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "code": code, "family": family, "material": material}


def generate(*, shuffle_answers: bool = False) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows about distinct codes; only the training answers are ever shuffled."""
    rng = random.Random(SEED)
    codes: dict[str, None] = {}
    while len(codes) < TRAIN_ROWS + EVAL_ROWS:
        codes["-".join(rng.choice(list(table)) for table in TABLES)] = None
    rows = [row_of(rng, code) for code in codes]
    train, held_out = rows[:TRAIN_ROWS], rows[TRAIN_ROWS:]
    if shuffle_answers:
        answers = [entry["messages"].pop() for entry in train]
        random.Random(SEED).shuffle(answers)
        for entry, answer in zip(train, answers, strict=True):
            entry["messages"].append(answer)
    return train, held_out


def main(folder: Path = Path(__file__).parent, *, shuffle_answers: bool = False) -> None:
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(shuffle_answers=shuffle_answers), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--shuffle-answers"]
    is_asked = any(one.startswith("-") for one in given)
    print(__doc__) if is_asked else main(*map(Path, given), shuffle_answers="--shuffle-answers" in sys.argv)
