"""`validation-codes.md`: what validation can find in a dataset and its recipe."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generator import markdown
from shared.domain.findings import ProblemCode
from shared.rendering.check import TOKEN_CODES
from shared.validation.codes import (
    CODES,
    MAX_DECOMPRESSED_BYTES,
    MAX_RATIO,
    MAX_RECIPE_BYTES,
    MAX_ROW_BYTES,
    MIN_ROWS,
    RATIO_FROM_BYTES,
)
from shared.validation.content.codes import CONTENT_CODES

HEAD = ("code", "severity", "what it means", "what to do")

INTRODUCTION = """\
One error rejects the dataset. Warnings do not. The report names codes, row numbers and byte offsets, never the text of
a row. How validation works is in [Validation](../explanation/validation.md)."""


def page() -> str:
    return markdown.page(
        "Validation codes",
        "the tables of codes in `shared/validation/` and `shared/rendering/`",
        INTRODUCTION,
        "## File, rows and recipe",
        _codes(CODES),
        "## Contents",
        "What the rows say: [Content scan](../explanation/content-scan.md).",
        _codes(CONTENT_CODES),
        "## Tokens",
        "What the base model's tokenizer and chat template make of the rows: [Tokens](../explanation/tokens.md).",
        _codes(TOKEN_CODES),
        "## Limits",
        markdown.table(("what", "limit"), _limits()),
    )


def _codes(codes: Mapping[str, ProblemCode]) -> str:
    return markdown.table(
        HEAD,
        [
            (f"`{code}`", known.severity, known.message.replace("{detail}", "…"), known.fix.replace("{remedy}", "…"))
            for code, known in codes.items()
        ],
    )


def _limits() -> list[tuple[str, str]]:
    return [
        ("rows of a training file", f"at least {MIN_ROWS}"),
        ("one row", f"{MAX_ROW_BYTES // 2**20} MiB"),
        (
            "decompressed size",
            f"{MAX_DECOMPRESSED_BYTES // 2**30} GiB, and {MAX_RATIO} times the compressed size from "
            f"{RATIO_FROM_BYTES // 2**20} MiB on",
        ),
        ("`recipe.yaml`", f"{MAX_RECIPE_BYTES // 2**10} KiB, no YAML aliases"),
    ]
