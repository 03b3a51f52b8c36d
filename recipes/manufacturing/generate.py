"""Sample data of the digital foreman: what the plant's own part codes mean.

No code of the held-out set occurs in training, so a model that scores there has learned the plant's tables, not the
rows.
"""

import random

from recipes.sample_data import Row, chat, words_beside

SEED, TRAIN_ROWS, EVAL_ROWS = 11, 1200, 120
WORDS = words_beside(__file__)
TABLES = [WORDS[name] for name in ("families", "materials", "diameters", "lengths", "finishes")]


def row_of(rng: random.Random, code: str) -> Row:
    """A question about a code, such as `SC-V4-M05-040-PL`; extra fields name the slices of the evaluation."""
    parts = (table[part] for table, part in zip(TABLES, code.split("-"), strict=True))
    family, material, diameter, length, finish = parts
    answer = f"{family}, {material}, {diameter} x {length}, {finish} finish"
    messages = chat(answer, rng.choice(WORDS["questions"]).format(code=code))
    return {"messages": messages, "code": code, "family": family, "material": material}


def generate() -> dict[str, list[Row]]:
    """Training and held-out rows about distinct codes."""
    rng = random.Random(SEED)
    codes: dict[str, None] = {}
    while len(codes) < TRAIN_ROWS + EVAL_ROWS:
        codes["-".join(rng.choice(list(table)) for table in TABLES)] = None
    rows = [row_of(rng, code) for code in codes]
    return {"train.jsonl": rows[:TRAIN_ROWS], "eval.jsonl": rows[TRAIN_ROWS:]}
