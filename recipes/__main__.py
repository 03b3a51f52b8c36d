"""Writes the sample data of a ready recipe anew: what its `generate.py` makes of its `words.toml`."""

import argparse
import json
import random
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from recipes.sample_data import Row

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/generate.py"))
SHUFFLE = (
    "deal the answers of train.jsonl to other questions: data that looks right and teaches nothing, "
    "which the evaluation gate must decline"
)


def sample(name: str, *, shuffle_answers: bool = False) -> dict[str, list[Row]]:
    """File name -> rows; only the answers of training are ever shuffled."""
    files: dict[str, list[Row]] = import_module(f"recipes.{name}.generate").generate()
    if shuffle_answers:
        turns = [row["messages"] for row in files["train.jsonl"]]
        answers = [messages.pop() for messages in turns]
        random.Random(11).shuffle(answers)
        for messages, answer in zip(turns, answers, strict=True):
            messages.append(answer)
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="without it, the recipe's own folder")
    parser.add_argument("--shuffle-answers", action="store_true", help=SHUFFLE)
    given = parser.parse_args(arguments)
    for file, rows in sample(given.name, shuffle_answers=given.shuffle_answers).items():
        path = (given.folder or HERE / given.name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main()
