"""Collects problems: grouped by code and file, counted, with a few row numbers and offsets, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.domain.dataset import ProblemGroup
from shared.validation.codes import CODES

ROWS_SHOWN = 20


@dataclass(slots=True)
class _Group:
    count: int = 0
    rows: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


class Findings:
    """`file` is train, eval or recipe; `detail` fills the code's message and splits the group."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._of_others: list[ProblemGroup] = []

    def take(self, groups: Iterable[ProblemGroup]) -> None:
        """What another check of the same data counted."""
        self._of_others += groups

    def add(self, code: str, file: str, row: int | None = None, offset: int = 0, *, detail: str = "") -> None:
        """Count one occurrence of a code of `CODES`. `row` is the line's number, from 1; `offset` that of its start."""
        assert code in CODES, code
        group = self._groups.setdefault((code, file, detail), _Group())
        group.count += 1
        if row is not None and len(group.rows) < ROWS_SHOWN:
            group.rows.append(row)
            group.offsets.append(offset)

    @property
    def failed(self) -> bool:
        return any(CODES[code].severity == "error" for code, _, _ in self._groups) or any(
            group.severity == "error" for group in self._of_others
        )

    def problems(self) -> tuple[ProblemGroup, ...]:
        """Errors before warnings, each in order of first appearance."""
        groups = [
            ProblemGroup(
                code=code,
                severity=CODES[code].severity,
                count=group.count,
                file=file,
                rows=tuple(group.rows),
                offsets=tuple(group.offsets),
                message=CODES[code].message.replace("{detail}", detail),
                fix=CODES[code].fix,
            )
            for (code, file, detail), group in self._groups.items()
        ]
        return tuple(sorted([*groups, *self._of_others], key=lambda group: group.severity != "error"))
