"""Rows to tokens: the tokenizing pass beside the bare tokenizer on the same texts, and what rendering costs.

    python -m benchmarks.rendering MB

counts the tokens of so much data and prints the most memory it took, in MB.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.measure import MB, REPOSITORY, Figure, peak_memory_mb, run_child, seconds
from benchmarks.validation import write_chat
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy, TokenCheck, readings

SIZE_MB, MEMORY_MB = 20.0, (5.0, 50.0)
ROUNDS = 5
BATCH_ROWS = 256
VOCABULARY = 32_000
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
BARE = "bare encode_batch"


def run(size_mb: float = SIZE_MB, memory_mb: tuple[float, ...] = MEMORY_MB) -> list[Figure]:
    """Speed over one file's rows, then the memory of processes that count differently much."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "rows.jsonl"
        write_chat(file, size_bytes=int(size_mb * MB))
        rows = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    bundle = make_bundle(rows[:2000])
    check = TokenCheck(bundle, LengthPolicy(4096, "drop"))
    rendered = [readings(bundle, row) for row in rows]
    texts = [reading.text for row in rendered for reading in row]
    text_mb = sum(len(text.encode()) for text in texts) / MB

    works: tuple[Callable[[], object], ...] = (
        lambda: [check.count(rows[at : at + BATCH_ROWS], rendered[at : at + BATCH_ROWS]) for at in _starts(rows)],
        lambda: [bundle.tokenizer.encode_batch(texts[at : at + BATCH_ROWS]) and None for at in _starts(rows)],
        lambda: [check.render(rows[at : at + BATCH_ROWS]) for at in _starts(rows)],
    )
    # In turns, and the best of each: the neighbors on this machine come and go.
    rounds = [[seconds(work, time.perf_counter) for work in works] for _ in range(ROUNDS)]
    counted, bare, drawn = map(min, zip(*rounds, strict=True))
    tokens = sum(row.tokens for row in check.count(rows, rendered))
    label = f"{size_mb:g} MB, {len(rows):,} rows"
    note = "target: ratio 0.85"
    found = [
        Figure(f"tokenize and judge, {label}", text_mb / counted, "MB/s", "higher", BARE, text_mb / bare, note),
        Figure(
            f"tokenize and judge, {label}", tokens / counted / 1e6, "M tokens/s", "higher", BARE, tokens / bare / 1e6
        ),
        Figure(f"render with template, {label}", text_mb / drawn, "MB/s", "higher", BARE, text_mb / bare),
        Figure(
            f"render, tokenize, judge, {label}", text_mb / (counted + drawn), "MB/s", "higher", BARE, text_mb / bare
        ),
    ]
    for size in memory_mb:
        peak = float(run_child("benchmarks.rendering", str(size)))
        found.append(Figure(f"render, tokenize, judge, {size:g} MB, peak memory", peak, "MB", "lower"))
    return found


def _starts(rows: list[Any]) -> range:
    return range(0, len(rows), BATCH_ROWS)


def byte_level_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Trained on the texts, with the tiny base model's control tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return core


def make_bundle(rows: list[dict[str, Any]]) -> Bundle:
    """A byte-level BPE trained on the rows' own text, with the tiny base model's template."""
    core = byte_level_bpe((message["content"] for row in rows for message in row["messages"]), VOCABULARY)
    template = (REPOSITORY / "local_stack" / "tiny_base" / "chat_template.jinja").read_text(encoding="utf-8")
    return Bundle.of(core.to_str(), template, {"eos_token": "<|im_end|>"})


def count(size_mb: float) -> None:
    """Stream a file of rows through the check, as the validator does."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "rows.jsonl"
        write_chat(file, size_bytes=int(size_mb * MB))
        with file.open("rb") as source:
            check = TokenCheck(
                make_bundle([orjson.loads(line) for line in itertools.islice(source, 2000)]), LengthPolicy(4096, "drop")
            )
            for batch in _batches(map(orjson.loads, source)):
                check.rows(batch)


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


if __name__ == "__main__":
    count(float(sys.argv[1]))
    print(round(peak_memory_mb(), 1))
