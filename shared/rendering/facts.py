"""Everything the base model's tokenizer has to say of a dataset: problems by code, statistics, rows to look at."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.domain.dataset import ProblemGroup
from shared.domain.tokens import PreviewRow, TokenStatistics
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES, LengthPolicy, TokenCheck
from shared.rendering.preview import preview_row
from shared.rendering.rows import Row
from shared.rendering.tally import TokenTally

BATCH_ROWS = 256
BATCH_CHARACTERS = 2**20
ROWS_SHOWN = 20


@dataclass(slots=True)
class _Group:
    count: int = 0
    rows: list[int] = field(default_factory=list)


class TokenFacts:
    """Takes canonical rows one by one, counts them in batches. The statistics are of the training file."""

    def __init__(self, bundle: Bundle, policy: LengthPolicy, previews: int = 0) -> None:
        self._check = TokenCheck(bundle, policy)
        self._tally = TokenTally(self._check)
        self._groups: dict[tuple[str, str], _Group] = {}
        self._batch: list[tuple[str, int, Row]] = []
        self._characters = 0
        self._previews = previews
        self._longest = 0
        self.preview: list[PreviewRow] = []

    def add(self, file: str, number: int, row: Row, characters: int) -> None:
        """Take the next row: `file` is train or eval, `number` its line, `characters` about its size."""
        self._batch.append((file, number, row))
        self._characters += characters
        if len(self._batch) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def problems(self) -> tuple[ProblemGroup, ...]:
        """Of all rows so far, in order of first appearance."""
        self._flush()
        return tuple(
            ProblemGroup(
                code=code,
                severity=TOKEN_CODES[code][0],
                count=group.count,
                file=file,
                rows=tuple(group.rows),
                message=TOKEN_CODES[code][1],
                fix=TOKEN_CODES[code][2],
            )
            for (code, file), group in self._groups.items()
        )

    def statistics(self) -> TokenStatistics:
        """Of the training rows so far."""
        self._flush()
        return self._tally.statistics()

    def longest(self) -> int:
        """Tokens of the longest kept row of either file: what a run's `max_length_tokens` must hold."""
        self._flush()
        return self._longest

    def _flush(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        judged = self._check.rows([row for _, _, row in batch])
        for (file, number, row), tokens in zip(batch, judged, strict=True):
            for code in tokens.codes:
                group = self._groups.setdefault((code, file), _Group())
                group.count += 1
                if len(group.rows) < ROWS_SHOWN:
                    group.rows.append(number)
            self._longest = max(self._longest, tokens.kept)
            if file == "train":
                self._tally.add(tokens)
            if tokens.kept and len(self.preview) < self._previews:
                self.preview.append(preview_row(self._check.bundle, row, file=file, number=number))
