"""Where canonical rows go: two files, counted and hashed on the way."""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

import orjson

from shared.domain.dataset import Statistics
from shared.domain.tokens import Histogram
from shared.validation.containers import spooled
from shared.validation.keys import File
from shared.validation.rows import Extent

_MESSAGES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 64)
_CHARACTERS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where canonical rows go: two binary files open for writing and reading, at position 0."""

    train: BinaryIO
    eval: BinaryIO


@contextmanager
def spooled_sink() -> Iterator[Sink]:
    """A sink in memory up to a few MB a file, beyond that in temporary files that vanish at the end."""
    with spooled(()) as train, spooled(()) as held_out:
        yield Sink(train, held_out)  # type: ignore[arg-type]  # they have all of BinaryIO that is used


class RowCounter:
    """Counts and hashes what is written."""

    def __init__(self, sink: Sink) -> None:
        self.sink, self._files = sink, {"train": sink.train, "eval": sink.eval}
        self._hashes = {name: sha256() for name in self._files}
        self.rows, self._held_out = {"train": 0, "eval": 0}, 0
        self._messages = self._messages_max = self._characters = self._characters_max = self._extra_bytes = 0
        self._messages_bars = [0] * (len(_MESSAGES) + 1)
        self._characters_bars = [0] * (len(_CHARACTERS) + 1)

    def measure(self, extent: Extent) -> None:
        messages, characters, extra_bytes = extent
        self._extra_bytes += extra_bytes
        self._messages += messages
        self._messages_bars[bisect_left(_MESSAGES, messages)] += 1
        self._characters += characters
        self._characters_bars[bisect_left(_CHARACTERS, characters)] += 1
        self._characters_max = max(self._characters_max, characters)
        self._messages_max = max(self._messages_max, messages)

    def write(self, file: File, canonical: bytes) -> None:
        self.rows[file] += 1
        self._files[file].write(canonical)
        self._hashes[file].update(canonical)
        if file == "eval":
            row = {name: value for name, value in orjson.loads(canonical).items() if name != "item"}
            self._held_out += int.from_bytes(sha256(orjson.dumps(row)).digest())

    def finish(self) -> None:
        for file in self._files.values():
            file.seek(0)

    def version(self) -> str:
        """SHA-256 over the SHA-256 of the training file and that of the held-out file, as hexadecimal."""
        both = self._hashes["train"].digest() + self._hashes["eval"].digest()
        return sha256(both).hexdigest()

    def eval_sha256(self) -> str:
        """Of what held-out rows ask and answer, as hexadecimal: their order and other columns make no new rows."""
        return f"{self._held_out % 2**256:064x}"

    def statistics(self, languages: dict[str, int]) -> Statistics:
        kept = max(1, self.rows["train"] + self.rows["eval"])
        return Statistics(
            train_rows=self.rows["train"],
            eval_rows=self.rows["eval"],
            messages_mean=round(self._messages / kept, 3),
            characters_mean=round(self._characters / kept, 3),
            characters_max=self._characters_max,
            extra_bytes_mean=round(self._extra_bytes / kept, 3),
            messages_per_row=Histogram.of(_MESSAGES, self._messages_bars, self._messages_max),
            languages=languages,
            characters_per_row=Histogram.of(_CHARACTERS, self._characters_bars, self._characters_max),
        )
