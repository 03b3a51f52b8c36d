"""`validation-codes.md`: what validation can find in a dataset and its recipe."""

from collections.abc import Mapping

from docs.generator import markdown
from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.domain.findings import ProblemCode
from shared.rendering.check import TOKEN_CODES
from shared.validation.codes import (
    CODES,
    CONTENT_CODES,
    MAX_DECOMPRESSED_BYTES,
    MAX_RATIO,
    MAX_ROW_BYTES,
    MIN_ROWS,
    RATIO_FROM_BYTES,
)


def page() -> str:
    return markdown.page(
        "validation-codes.md",
        codes=_codes(CODES),
        content_codes=_codes(CONTENT_CODES),
        token_codes=_codes(TOKEN_CODES),
        limits=_limits(),
    )


def _codes(codes: Mapping[str, ProblemCode]) -> list[tuple[str, str, str, str]]:
    return [
        (f"`{code}`", known.severity, known.message.replace("{detail}", "…"), known.fix.replace("{remedy}", "…"))
        for code, known in codes.items()
    ]


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
