"""Sample data of the digital foreman: what the plant's own part codes mean.

    python recipes/manufacturing/generate.py [--output DIR] [--seed 11] [--shuffle-answers]

Writes train.jsonl and eval.jsonl. No code of the held-out set occurs in training, so a model that scores
there has learned the plant's tables, not the rows. `--shuffle-answers` deals the training answers to other
questions: data that looks right and teaches nothing, which the evaluation gate must decline.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

TRAIN_ROWS, EVAL_ROWS = 1600, 120

QUESTIONS = ("What part is {code}?", "Expand {code}.", "Which part does {code} stand for?")
FAMILIES = {
    "SC": "socket cap screw",
    "HB": "hex bolt",
    "HN": "hex nut",
    "FW": "flat washer",
    "LW": "lock washer",
    "DP": "dowel pin",
    "TR": "threaded rod",
    "GS": "grub screw",
    "BB": "ball bearing",
    "RR": "retaining ring",
    "CC": "clevis coupling",
    "SP": "split pin",
    "KY": "parallel key",
    "OR": "o-ring gland",
    "CP": "cotter pin",
    "BF": "bearing flange",
}
MATERIALS = {
    "A2": "stainless steel 304",
    "A4": "stainless steel 316",
    "C8": "carbon steel 8.8",
    "C1": "carbon steel 10.9",
    "BR": "brass",
    "TI": "titanium grade 5",
    "NY": "nylon",
    "PE": "peek",
    "VI": "viton",
    "SI": "silicone",
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
    "PL": "plain",
    "ZN": "zinc plated",
    "BO": "black oxide",
    "HD": "hot dip galvanised",
    "PT": "ptfe coated",
    "NI": "nickel plated",
    "EP": "electropolished",
    "LK": "loctite patched",
}


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
    return [_row(code, rng.choice(QUESTIONS).format(code=code)) for code in codes]


def _row(code: str, question: str) -> dict[str, object]:
    family, material, *_ = code.split("-")
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": meaning(code)},
        ],
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
