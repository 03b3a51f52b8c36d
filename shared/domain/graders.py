"""Graders: how one answer earns a score between 0 and 1. Pure; evaluation and the API use the same ones."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Grader(BaseModel):
    """One grader. `reference` and `pattern` may use `{{item.FIELD}}`; see `grade`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: Literal["string_check", "regex"]
    operation: Literal["eq", "ne", "like", "ilike"] = "eq"
    reference: str = "{{item.answer}}"
    pattern: str | None = Field(default=None, description="regex only: searched in the answer")
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _regex_needs_a_valid_pattern(self) -> Self:
        if self.type == "regex":
            if self.pattern is None:
                raise ValueError(f"grader {self.name}: a regex grader needs `pattern`")
            try:
                re.compile(_TEMPLATE.sub("x", self.pattern))
            except re.error as error:
                raise ValueError(f"grader {self.name}: {error}") from error
        return self


_TEMPLATE = re.compile(r"\{\{\s*item\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def _fill(template: str, item: dict[str, Any], *, escape: bool = False) -> str:
    def value(match: re.Match[str]) -> str:
        text = str(item[match[1]])
        return re.escape(text) if escape else text

    return _TEMPLATE.sub(value, template)


def template_fields(grader: Grader) -> set[str]:
    """The row fields a grader reads."""
    template = grader.pattern if grader.type == "regex" else grader.reference
    return set(_TEMPLATE.findall(template or ""))


def grade(grader: Grader, output_text: str, item: dict[str, Any]) -> float:
    """Score one answer.

    `item` holds the row's extra fields, and `answer`: the held-out row's last assistant message unless the
    row has a field of that name itself.
    Operations are those of OpenAI's string_check: eq, ne, like (contains), ilike (contains, any case).

    Raises KeyError when a template names a field the row does not have.
    """
    text = output_text.strip()
    if grader.type == "regex":
        assert grader.pattern is not None
        return float(re.search(_fill(grader.pattern, item, escape=True), text) is not None)
    reference = _fill(grader.reference, item).strip()
    match grader.operation:
        case "eq":
            return float(text == reference)
        case "ne":
            return float(text != reference)
        case "like":
            return float(reference in text)
        case "ilike":
            return float(reference.casefold() in text.casefold())


def score(graders: tuple[Grader, ...], output_text: str, item: dict[str, Any]) -> float:
    """Weighted mean of all graders, 0 to 1."""
    total = sum(grader.weight for grader in graders)
    return sum(grader.weight * grade(grader, output_text, item) for grader in graders) / total
