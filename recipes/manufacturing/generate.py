"""Sample data of the digital foreman: what the plant's own part codes mean.

    python recipes/manufacturing/generate.py [--output DIR] [--seed 11] [--shuffle-answers]

Writes train.jsonl and eval.jsonl. No code of the held-out set occurs in training, so a model that scores
there has learned the plant's tables, not the rows. `--shuffle-answers` deals the training answers to other
questions: data that looks right and teaches nothing, which the evaluation gate must decline.
"""

import argparse
import json
import random
import tomllib
from pathlib import Path
from typing import Any

TRAIN_ROWS, EVAL_ROWS = 1200, 120

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
FAMILIES, MATERIALS, FINISHES = WORDS["families"], WORDS["materials"], WORDS["finishes"]
DIAMETERS, LENGTHS = WORDS["diameters"], WORDS["lengths"]


def meaning(code: str) -> str:
    """What the plant means by a code, for example `SC-A4-M05-040-PL`."""
    family, material, diameter, length, finish = code.split("-")
    return (
        f"{FAMILIES[family]}, {MATERIALS[material]}, {DIAMETERS[diameter]} x {LENGTHS[length]}, "
        f"{FINISHES[finish]} finish"
    )


def make_rows(seed: int, count: int) -> list[dict[str, object]]:
    """`count` rows about distinct codes; extra fields name the slices of the evaluation."""
    rng = random.Random(seed)
    tables = (FAMILIES, MATERIALS, DIAMETERS, LENGTHS, FINISHES)
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes["-".join(rng.choice(list(table)) for table in tables)] = None
    return [_row(code, rng.choice(WORDS["questions"]).format(code=code)) for code in codes]


def _row(code: str, question: str) -> dict[str, object]:
    family, material, *_ = code.split("-")
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": meaning(code)}],
        "code": code,
        "family": FAMILIES[family],
        "material": MATERIALS[material],
    }


def with_shuffled_answers(rows: list[dict[str, object]], seed: int) -> list[dict[str, object]]:
    """The same questions, each with another row's answer."""
    answers = [row["messages"][1] for row in rows]  # type: ignore[index]
    random.Random(seed).shuffle(answers)
    return [
        {**row, "messages": [row["messages"][0], answer]}  # type: ignore[index]
        for row, answer in zip(rows, answers, strict=True)
    ]


def generate(
    seed: int = 11, train_rows: int = TRAIN_ROWS, eval_rows: int = EVAL_ROWS, *, shuffle_answers: bool = False
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Training and held-out rows; only the training answers are ever shuffled."""
    rows = make_rows(seed, train_rows + eval_rows)
    train, held_out = rows[:train_rows], rows[train_rows:]
    return (with_shuffled_answers(train, seed) if shuffle_answers else train), held_out


def write(folder: Path, train: list[dict[str, object]], held_out: list[dict[str, object]]) -> None:
    """Write train.jsonl and eval.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train.jsonl", train), ("eval.jsonl", held_out)):
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (folder / name).write_text(lines, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--train-rows", type=int, default=TRAIN_ROWS)
    parser.add_argument("--shuffle-answers", action="store_true")
    arguments = parser.parse_args(argv)
    train, held_out = generate(arguments.seed, arguments.train_rows, shuffle_answers=arguments.shuffle_answers)
    write(arguments.output, train, held_out)


if __name__ == "__main__":
    main()
