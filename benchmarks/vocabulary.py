"""Validation with the tokenizer of a large model: 128,000 entries, as Llama 3 has, in the memory a function has.

    python -m benchmarks.vocabulary FILE [FOLDER]

validates a file, with the tokenizer in a folder if one is named, and prints seconds and MB as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.measure import MB, REPOSITORY, Row, peak_memory_mb, run_child
from benchmarks.validation import validate_file, write_chat
from shared.rendering.bundle import CONFIG, TEMPLATE, TOKENIZER, read_bundle_folder

ROWS, ENTRIES = 5_000, 128_000
END = "<|im_end|>"
PLAIN = "without a tokenizer"


def run(rows: int = ROWS, entries: int = ENTRIES) -> list[Row]:
    """Each in a process of its own, so that the memory is that of one validation."""
    with tempfile.TemporaryDirectory() as name:
        file, folder = Path(name) / "chat.jsonl", Path(name) / "tokenizer"
        write_chat(file, rows=rows)
        write_tokenizer(folder, entries, file)
        size_mb = (folder / TOKENIZER).stat().st_size / MB
        ours, plain = (
            json.loads(run_child("benchmarks.vocabulary", *map(str, paths))) for paths in ((file, folder), (file,))
        )
    label = f"{entries:,} entries"
    return [
        Row(f"load, {label}", ours["load_s"], "s", "lower", note=f"tokenizer.json of {size_mb:.1f} MB"),
        Row(f"validate {rows:,} rows, {label}", ours["validate_s"], "s", "lower", PLAIN, plain["validate_s"]),
        Row(f"most memory of the load, {label}", ours["loaded_mb"], "MB", "lower", PLAIN, plain["loaded_mb"]),
        Row(f"most memory, {rows:,} rows, {label}", ours["peak_mb"], "MB", "lower", PLAIN, plain["peak_mb"]),
    ]


def write_tokenizer(folder: Path, entries: int, rows: Path) -> None:
    """The three files of a base model's folder; a byte-level BPE trained on made-up words, and on those of the rows.

    So that it knows the rows' words, as a large model's does.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=["<|im_start|>", END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([*_lines(entries), *_texts(rows)], trainer)
    assert core.get_vocab_size() == entries
    folder.mkdir()
    core.save(str(folder / TOKENIZER))
    (folder / CONFIG).write_text(json.dumps({"eos_token": END}), encoding="utf-8")
    template = REPOSITORY / "training_job" / "chat_template.jinja"
    (folder / TEMPLATE).write_bytes(template.read_bytes())


def _lines(words: int) -> list[str]:
    """As many different words as the vocabulary has entries, each twice: a pair seen once is not merged."""
    chance = random.Random(7)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    made = {"".join(chance.choices(letters, k=chance.randint(4, 12))) for _ in range(words)}
    return [" ".join(sorted(made))] * 2


def _texts(rows: Path) -> Iterator[str]:
    for line in rows.read_bytes().splitlines():
        yield from (message["content"] for message in json.loads(line)["messages"])


def measure(file: Path, folder: Path | None) -> dict[str, float]:
    started = time.perf_counter()
    bundle = read_bundle_folder(folder) if folder else None
    loaded, loaded_mb = time.perf_counter(), peak_memory_mb()
    validate_file(file, (lambda _: bundle) if bundle else None)
    return {
        "load_s": loaded - started,
        "loaded_mb": loaded_mb,
        "validate_s": time.perf_counter() - loaded,
        "peak_mb": peak_memory_mb(),
    }


if __name__ == "__main__":
    file, *folder = map(Path, sys.argv[1:])
    print(json.dumps(measure(file, folder[0] if folder else None)))
