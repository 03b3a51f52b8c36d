"""What checks of a dataset find: grouped by code and file, counted, with a few row numbers, in bounded memory."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import TypeAdapter

from shared.domain.beside import read_beside
from shared.domain.dataset import ProblemGroup

ROWS_SHOWN = 20
ERRORS_SHOWN = 100  # of one recipe


class ProblemCode(NamedTuple):
    """A kind of problem. `message` may hold `{detail}`, never text of a row; `fix` may hold `{remedy}`."""

    severity: Literal["error", "warning"]
    message: str
    fix: str


_CODES = TypeAdapter(dict[str, ProblemCode])


def read_codes(module: str, name: str = "") -> dict[str, ProblemCode]:
    """Those of a TOML file beside a module, which has a table for each: severity, message, fix. As `read_beside`."""
    return _CODES.validate_python(read_beside(module, name))


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`: a detail of a finding."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Place(NamedTuple):
    """Where a row is: `file` as in ProblemGroup, the line's number from 1, and the offset of its start in bytes."""

    file: str
    row: int
    offset: int = 0

    @property
    def number(self) -> int:
        """The row's; negative of one of the version that is appended to, which the dropped file does not hold."""
        return -self.row if self.file == "previous" else self.row

    @property
    def part(self) -> Literal["train", "eval"]:
        return "eval" if self.file == "eval" else "train"


@dataclass(slots=True)
class _Group:
    count: int = 0
    rows: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    remedy: str = ""


class Findings:
    """Made of the codes that may occur. `detail` fills the code's message and splits the group."""

    def __init__(self, codes: Mapping[str, ProblemCode]) -> None:
        self._codes = codes
        self._groups: dict[tuple[str, str, str], _Group] = {}

    def add(
        self, code: str, file: str, row: int | None = None, offset: int = 0, *, detail: str = "", part: str = ""
    ) -> None:
        """Count one occurrence. `row` is the line's number, from 1; `offset` that of its start; `part` the field."""
        assert code in self._codes, code
        group = self._groups.setdefault((code, file, detail), _Group())
        group.count += 1
        if row is not None and len(group.rows) < ROWS_SHOWN:
            group.rows.append(row)
            group.offsets.append(offset)
            group.parts.append(part)

    def add_many(
        self, code: str, file: str, detail: str, count: int, rows: Iterable[int] = (), *, remedy: str = ""
    ) -> None:
        """A group that was counted elsewhere, with its first rows. Their offsets are not known."""
        assert code in self._codes, code
        self._groups[code, file, detail] = _Group(count, list(rows)[:ROWS_SHOWN], remedy=remedy)

    def count(self, code: str, file: str, detail: str, count: int) -> None:
        """Add occurrences whose rows are not shown."""
        assert code in self._codes, code
        self._groups.setdefault((code, file, detail), _Group()).count += count

    def leave_out(self, codes: Container[str]) -> None:
        self._groups = {key: group for key, group in self._groups.items() if key[0] not in codes}

    def leave_out_again(self, code: str, others: Container[str]) -> None:
        """What this code names and one of the others too, alone or with more, of the same file."""
        named = {(file, one) for code, file, detail in self._groups if code in others for one in detail.split(" and ")}
        self._groups = {key: group for key, group in self._groups.items() if key[0] != code or key[1:] not in named}

    def replace(self, code: str, file: str, detail: str, by: tuple[str, str, str] | None) -> None:
        """Give a group, if there is one, another code, detail and remedy; None: forget it."""
        group = self._groups.pop((code, file, detail), None)
        if group and by:
            group.remedy = by[2]
            self._groups[by[0], file, by[1]] = group

    def counts(self, code: str) -> list[tuple[str, str, int]]:
        """File, detail and occurrences of each group with this code."""
        return [(file, detail, group.count) for (one, file, detail), group in self._groups.items() if one == code]

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(code for code, _, _ in self._groups)

    @property
    def failed(self) -> bool:
        return any(self._codes[code].severity == "error" for code, _, _ in self._groups)

    def problems(self) -> tuple[ProblemGroup, ...]:
        """Errors before warnings, each in order of first appearance."""
        groups = [
            ProblemGroup(
                code=code,
                severity=self._codes[code].severity,
                count=group.count,
                file=file,
                rows=tuple(group.rows),
                offsets=tuple(group.offsets),
                parts=tuple(group.parts) if any(group.parts) else (),
                message=self._codes[code].message.replace("{detail}", detail),
                fix=self._codes[code].fix.replace("{remedy}", group.remedy or "the others"),
            )
            for (code, file, detail), group in self._groups.items()
        ]
        return tuple(sorted(groups, key=lambda group: group.severity != "error"))
