"""Validation in a process of its own with a vocabulary as large as Llama 3's: what loading it takes, and memory.

    python -m benchmarks.large_vocabulary FOLDER FILE

validates FILE with the tokenizer in FOLDER and prints one JSON object. The vocabulary is made of generated words:
Llama 3's has as many entries, and twice the merges.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import MB, REPOSITORY, Figure, peak_memory_mb, run_child
from benchmarks.rendering import byte_level_bpe
from benchmarks.validation import report_of, write_chat
from shared.rendering.bundle import read_bundle_folder

VOCABULARY, ROWS = 128_000, 5_000
WORDS, LETTERS = 300_000, "eeettaaooiinnsshhrrddllccuummwwffggyyppbbvvkkjxqz"


def run(vocabulary: int = VOCABULARY, rows: int = ROWS, words: int = WORDS) -> list[Figure]:
    """Seconds of loading and of the whole validation, and memory before and at its most."""
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "train.jsonl"
        entries, size_mb = write_tokenizer(folder, vocabulary, words)
        write_chat(file, rows=rows)
        found = json.loads(run_child("benchmarks.large_vocabulary", str(folder), str(file)))
    label, note = f"vocabulary of {entries:,}", f"tokenizer.json of {size_mb:.1f} MB"
    return [
        Figure(f"{label}, load", found["load_s"], "s", "lower", note=note),
        Figure(
            f"{label}, validate {rows:,} rows", found["validate_s"], "s", "lower", note=f"{found['tokens']:,} tokens"
        ),
        Figure(f"{label}, memory before", found["before_mb"], "MB", "lower"),
        Figure(f"{label}, peak memory", found["peak_mb"], "MB", "lower", note="a function app's instance has 2,048"),
    ]


def write_tokenizer(folder: Path, vocabulary: int, words: int) -> tuple[int, float]:
    """A byte-level BPE as `tokenizer.json` with its config and template: entries, and MB of the first."""
    core = byte_level_bpe(_words(words), vocabulary)
    core.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    shutil.copy(REPOSITORY / "local_stack" / "tiny_base" / "chat_template.jinja", folder)
    return core.get_vocab_size(), (folder / "tokenizer.json").stat().st_size / MB


def _words(count: int) -> Iterator[str]:
    chance = random.Random(13)
    for _ in range(count):
        yield " " + "".join(chance.choices(LETTERS, k=chance.randint(3, 11)))


def measure(folder: Path, file: Path) -> dict[str, float]:
    before, started = peak_memory_mb(), time.perf_counter()
    bundle = read_bundle_folder(folder)
    loaded = time.perf_counter()
    report = report_of(file, lambda _: bundle)
    assert report.tokens is not None, report
    return {
        "load_s": loaded - started,
        "validate_s": time.perf_counter() - loaded,
        "before_mb": before,
        "peak_mb": peak_memory_mb(),
        "tokens": report.tokens.tokens,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
