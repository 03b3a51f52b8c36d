"""The words of `words.txt`, and the patterns of `patterns.toml`."""

from pathlib import Path

from shared.domain.beside import read_beside
from shared.domain.patterns import composed


def _read(path: Path) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _, words = line.partition(": ")
            found.setdefault(name, set()).update(words.split())
    return {name: frozenset(words) for name, words in found.items()}


WORDS = _read(Path(__file__).with_name("words.txt"))
PATTERNS = {table: composed(patterns) for table, patterns in read_beside(__file__, "patterns.toml").items()}
