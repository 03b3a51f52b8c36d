"""Regular expressions of a recipe, in RE2: time linear in the text, whatever the pattern."""

from functools import lru_cache
from typing import Any

import re2

from shared.grading.errors import BadGrader, GradingErrorCode, GradingFailed
from shared.grading.templates import REFERENCE, Item, Sample, Template

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
