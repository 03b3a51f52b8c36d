"""The validator beside a bare parser, beside `datasets`, and beside a checker of the OpenAI cookbook's kind.

    python -m benchmarks.validation droptune|datasets FILE

validates one file and prints the most memory it took, in MB.
"""

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import MB, Figure, load, peak_memory_mb, run_child, seconds
from shared.domain.dataset import Report
from shared.rendering.bundle import Bundle
from shared.validation.containers import read_text
from shared.validation.lines import split_lines
from shared.validation.rows import read_row
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate

ROWS, LARGE_MB, MEMORY_MB = 5000, 50, (10, 200)
ROUNDS = 5
CHUNK_BYTES = 2**20  # what the embedded blob store hands out
PARSER = "orjson.loads of each line"
CHECKER = "datasets + cookbook checker"
PLAIN_CHECKER = "json.loads + cookbook checker"
CURATION = "datatrove: reader, PII formatter, MinHash signatures"


def _with_time(message: dict[str, str]) -> dict[str, str]:
    return {**message, "content": f"at 13:30: {message['content']}"}


# By form, a line of a row and its number. `json.dumps` writes blanks, and escapes for all beyond ASCII; graders and
# slices read fields beside the messages.
FORMS: dict[str, Callable[[int, dict[str, Any]], str]] = {
    "rows as json.dumps writes them": lambda _, row: json.dumps(row),
    "such rows with a time and a colon in each text": lambda _, row: json.dumps(
        {"messages": [_with_time(message) for message in row["messages"]]}
    ),
    "rows with three fields of their own": lambda number, row: orjson.dumps(
        {**row, "fault": "bearing", "site": "plant: north", "number": number}
    ).decode(),
}


def run(rows: int = ROWS, large_mb: float = LARGE_MB, memory_mb: tuple[float, ...] = MEMORY_MB) -> list[Figure]:
    """Speed on a small and a large file, then the memory of processes that validate one file each."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small.jsonl", folder / "large.jsonl"
        write_chat(small, rows=rows)
        write_chat(large, size_bytes=int(large_mb * MB))
        for file, label in ((small, f"{rows:,} rows"), (large, f"{large_mb:g} MB")):
            found += _structure(file, label) + _speed(file, label)
        if find_spec("datatrove"):
            found.append(_beside_datatrove(folder / "few.jsonl", min(rows, 1000)))
        for form, written in FORMS.items():
            other, lines = folder / "other.jsonl", small.read_bytes().splitlines()
            rows_of_form = (written(number, orjson.loads(line)) for number, line in enumerate(lines))
            other.write_text("".join(f"{row}\n" for row in rows_of_form), encoding="utf-8")
            found += _structure(other, f"{rows:,} {form}")
        for size in memory_mb:
            file = folder / f"{size:g}.jsonl"
            write_chat(file, size_bytes=int(size * MB))
            ours, theirs = (
                float(run_child("benchmarks.validation", kind, str(file))) for kind in ("droptune", "datasets")
            )
            found.append(Figure(f"validate, {size:g} MB, peak memory", ours, "MB", "lower", CHECKER, theirs))
    return found


def _structure(file: Path, label: str) -> list[Figure]:
    size_mb = file.stat().st_size / MB
    rounds = _rounds(file, check_structure, parse_file)
    ours, bare = map(min, zip(*rounds, strict=True))
    note = _spread([bare / ours for ours, bare in rounds], ".2f")
    return [Figure(f"structural pass, {label}", size_mb / ours, "MB/s", "higher", PARSER, size_mb / bare, note)]


def _speed(file: Path, label: str) -> list[Figure]:
    size_mb, count = file.stat().st_size / MB, file.read_bytes().count(b"\n")
    rounds = _rounds(file, validate_file, parse_file, check_plainly, check_file)
    ours, bare, plain, checked = map(min, zip(*rounds, strict=True))
    note = f"{_spread([count / times[0] for times in rounds], ',.0f')}; target: 5,500 rows/s"
    return [
        Figure(f"validate, {label}", size_mb / ours, "MB/s", "higher", PARSER, size_mb / bare),
        Figure(f"validate, {label}", count / ours, "rows/s", "higher", PLAIN_CHECKER, count / plain, note),
        Figure(f"validate, {label}", count / ours, "rows/s", "higher", CHECKER, count / checked),
    ]


def _beside_datatrove(file: Path, rows: int) -> Figure:
    """On few rows, since theirs takes long; the second round is without imports."""
    write_chat(file, rows=rows)
    rounds = _rounds(file, validate_file, curate_file, rounds=2)
    ours, theirs = (rows / min(taken) for taken in zip(*rounds, strict=True))
    return Figure(f"validate, {rows:,} rows", ours, "rows/s", "higher", CURATION, theirs, f"2 rounds, load {load()}")


def _rounds(file: Path, *works: Callable[[Path], None], rounds: int = ROUNDS) -> list[list[float]]:
    """Seconds of processor time of each, in turns. The best counts."""
    return [[seconds(partial(work, file)) for work in works] for _ in range(rounds)]


def _spread(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}} in {len(values)} rounds, load {load()}"


def validate_file(file: Path) -> None:
    """Everything our validator does, the held-out share and the canonical files included."""
    done = report_of(file)
    assert done.statistics.train_rows, done


def report_of(file: Path, bundle_of: Callable[[str], Bundle] | None = None) -> Report:
    """What the validator says; tokens are counted where there is a tokenizer to count them with."""
    with file.open("rb") as source, spooled_sink() as sink:
        return validate(
            iter(lambda: source.read(CHUNK_BYTES), b""),
            None,
            None,
            project="project",
            file_name="train.jsonl",
            default_base_model="droptune/tiny-llama",
            sink=sink,
            bundle_of=bundle_of,
        ).report


def check_structure(file: Path) -> None:
    """What the validator does with a line before it looks at what rows mean together."""
    with file.open("rb") as source:
        for _, _, line in split_lines(read_text(iter(lambda: source.read(CHUNK_BYTES), b""))):
            row, codes = read_row(line)
            assert row is not None, codes


def parse_file(file: Path) -> None:
    with file.open("rb") as source:
        for line in source:
            orjson.loads(line)


def check_file(file: Path) -> None:
    """Load with `datasets` and check row by row. Its cache is new each time, as for a new file."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
        problems = cookbook_problems(rows)
        del rows  # or its mapped files outlive their folder
    assert not problems, problems


def check_plainly(file: Path) -> None:
    """The cookbook's way: the whole file as a list of rows, then the checks."""
    with file.open(encoding="utf-8") as source:
        rows = [json.loads(line) for line in source]
    problems = cookbook_problems(rows)
    assert not problems, problems


def curate_file(file: Path) -> None:
    """What datatrove has of the same: e-mail and IP addresses redacted, near duplicates prepared with its own settings.

    Its default hash function fails with xxhash 4, so it gets the other one that it offers.
    """
    from datatrove.pipeline.dedup import MinhashDedupSignature  # type: ignore[import-not-found, unused-ignore]
    from datatrove.pipeline.dedup.minhash import MinhashConfig  # type: ignore[import-not-found, unused-ignore]
    from datatrove.pipeline.formatters import PIIFormatter  # type: ignore[import-not-found, unused-ignore]
    from datatrove.pipeline.readers import JsonlReader  # type: ignore[import-not-found, unused-ignore]
    from datatrove.utils.hashing import HashConfig  # type: ignore[import-not-found, unused-ignore]
    from loguru import logger  # type: ignore[import-not-found, unused-ignore]

    def adapter(_reader: object, row: dict[str, Any], path: str, number: int) -> dict[str, Any]:
        text = "\n".join(message["content"] for message in row["messages"])
        return {"text": text, "id": f"{path}/{number}", "metadata": {}}

    logger.disable("datatrove")
    rows = JsonlReader(str(file.parent), glob_pattern=file.name, adapter=adapter).run()
    with tempfile.TemporaryDirectory() as signatures:
        config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
        MinhashDedupSignature(signatures, config=config).run(PIIFormatter().run(rows))


def cookbook_problems(rows: Any) -> Counter[str]:
    """Format errors by the names the OpenAI cookbook gives them; written anew from its description."""
    found: Counter[str] = Counter()
    for row in rows:
        if not isinstance(row, dict):
            found["data_type"] += 1
            continue
        messages = row.get("messages")
        if not messages:
            found["missing_messages_list"] += 1
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                found["message_missing_key"] += 1
            if message.get("role") not in ("system", "user", "assistant", "function"):
                found["unrecognized_role"] += 1
            content = message.get("content")
            if not isinstance(content, str) or not content:
                found["missing_content"] += 1
        if not any(message.get("role") == "assistant" for message in messages):
            found["example_missing_assistant_message"] += 1
    return found


def write_chat(file: Path, *, rows: int | None = None, size_bytes: int | None = None) -> None:
    """Chat rows of mixed length, some with a system message or several turns, until either limit is reached."""
    written = 0
    with file.open("wb") as output:
        for number, line in enumerate(_chat_lines()):
            if number == rows or (size_bytes is not None and written >= size_bytes):
                return
            written += output.write(line)


def _chat_lines() -> Iterator[bytes]:
    chance = random.Random(11)
    syllables = ("ka", "lo", "mi", "tur", "sen", "ba", "ré", "gon", "pi", "stel", "wo", "übe", "dra", "nix")
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(5000)]

    def text(least: int, most: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(least, most)))

    while True:
        messages = [{"role": "system", "content": text(10, 30)}] if chance.random() < 0.5 else []
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            messages.append({"role": "user", "content": text(5, 40)})
            messages.append({"role": "assistant", "content": text(5, 80)})
        yield orjson.dumps({"messages": messages}, option=orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    {"droptune": validate_file, "datasets": check_file}[sys.argv[1]](Path(sys.argv[2]))
    print(round(peak_memory_mb(), 1))
