"""Templates over a row and an answer (docs/reference/graders.md); patterns of recipes, in RE2: time linear in the
text."""

import json
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import re2

from shared.domain.row_fields import value_at
from shared.grading.errors import AnswerUnreadable, BadGrader, GradingErrorCode, GradingFailed

Item = dict[str, Any]
_MISSING = object()
MAX_CHARACTERS = 10_000_000  # of a filled template, which may name one field hundreds of times
REFERENCE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*\}\}")


class Sample:
    """One answer."""

    def __init__(self, output_text: str) -> None:
        self.output_text = _whole(output_text)

    @cached_property
    def output_json(self) -> Any:
        """The answer read as JSON. Raises AnswerUnreadable."""
        try:
            return json.loads(self.output_text, parse_constant=_refuse, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise AnswerUnreadable("the answer is not JSON") from error


class Template:
    """A template whose references are all known. Raises BadGrader for one that is not."""

    def __init__(self, setting: str, source: str) -> None:
        self._source = source
        self._paths = [path.split(".") for path in REFERENCE.findall(source)]
        if "{{" in REFERENCE.sub("", source) or not all(map(_known, self._paths)):
            known = "{{item.FIELD}}, {{sample.output_text}} and {{sample.output_json.FIELD}} are known"
            raise BadGrader(setting, f"{known}, this is not: {source}")
        self._alone = REFERENCE.fullmatch(source.strip()) is not None

    @property
    def fields(self) -> set[str]:
        """The row's fields that it reads, as paths: `answer`, `meta.machine`."""
        return {".".join(path[1:]) for path in self._paths if path[0] == "item"}

    @property
    def reads_answer(self) -> bool:
        return any(path[0] == "sample" for path in self._paths)

    def value(self, sample: Sample, item: Item) -> Any:
        """What the only reference stands for, of whatever type; else the filled text."""
        value = _look_up(self._paths[0], sample, item) if self._alone else self.text(sample, item)
        return _whole(value) if isinstance(value, str) else value

    def text(self, sample: Sample, item: Item, change: Callable[[str], str] = str) -> str:
        """The filled text, each value put through `change`; values that are no text stand as JSON."""

        left = MAX_CHARACTERS

        def filled(match: re.Match[str]) -> str:
            nonlocal left
            value = _look_up(match[1].split("."), sample, item)
            text = _whole(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            left -= len(text)
            if left < 0:
                raise GradingFailed(GradingErrorCode.OTHER, "row and answer make a filled template too large")
            return change(text)

        return REFERENCE.sub(filled, self._source)


def _whole(text: str) -> str:
    """Half a surrogate pair, which JSON can smuggle in, is no text to a pattern or a file."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands twice, two readers may take different values."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _known(path: list[str]) -> bool:
    if path[0] == "item":
        return len(path) > 1
    return path == ["sample", "output_text"] or path[:2] == ["sample", "output_json"]


def _look_up(path: list[str], sample: Sample, item: Item) -> Any:
    if path == ["sample", "output_text"]:
        return sample.output_text
    if path[0] == "item":
        if (value := value_at(item, ".".join(path[1:]), _MISSING)) is _MISSING:
            raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, f"the row has no {'.'.join(path)}")
        return value
    value = sample.output_json
    for name in path[2:]:
        if not isinstance(value, dict) or name not in value:
            raise AnswerUnreadable(f"the answer has no {'.'.join(path[2:])}")
        value = value[name]
    return value


_MAX_MEMORY_BYTES = 2**20


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Raises ValueError in RE2's words."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


class Pattern:
    """A pattern whose templates stand for the field's text, letter for letter. Raises BadGrader."""

    def __init__(self, setting: str, source: str, *, needs_group: bool = False) -> None:
        self._template = Template(setting, source)
        self.fields = self._template.fields
        try:
            groups = compiled(REFERENCE.sub("x", source)).groups
        except ValueError as error:
            raise BadGrader(setting, f"{error} (RE2 syntax: no look-around, no back-references)") from error
        if needs_group and not groups:
            raise BadGrader(setting, "it needs a group, in round brackets, that holds what is looked for")

    def of(self, sample: Sample, item: Item) -> Any:
        """The compiled pattern for one answer."""
        try:
            return compiled(self._template.text(sample, item, change=re2.escape))
        except ValueError as error:
            raise GradingFailed(GradingErrorCode.OTHER, "the pattern is too large with the row's text in it") from error


def groups(match: Any) -> tuple[str, ...]:
    """The groups, or the whole match of a pattern without groups."""
    return match.groups(default="") if match.re.groups else (match[0],)
