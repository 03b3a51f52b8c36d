"""Kinds of personal data that a recipe lets stay, through the whole validator."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from shared.domain.dataset import DatasetRef
from shared.domain.recipe import PersonalDataKind
from shared.validation.content.personal_data import KINDS
from shared.validation.curated import curated_version
from tests.unit.shared.validation.conftest import Check, Checked

BORN = {"messages": [{"role": "user", "content": "Born when?"}, {"role": "assistant", "content": "DOB: 12/03/1958"}]}
MAIL = {"messages": [{"role": "user", "content": "Whom?"}, {"role": "assistant", "content": "anna@example.com"}]}
SOURCE = DatasetRef(path="datasets/part-codes/train.jsonl", etag="1", size_bytes=1, sha256="0" * 64)


def severities(checked: Checked) -> dict[str, str]:
    found = checked.result.report.problems
    return {one.code: one.severity for one in found if one.code.startswith("personal")}


def test_a_recipe_can_name_exactly_the_kinds_that_are_looked_for() -> None:
    assert set(get_args(PersonalDataKind)) == KINDS


def test_a_kind_the_recipe_allows_does_not_block_and_others_do(check: Check, rows: Callable[..., bytes]) -> None:
    recipe = b"data: {personal_data_allowed: [date_of_birth]}"
    allowed = check(rows(60, BORN), recipe=recipe)
    assert (allowed.errors, severities(allowed)) == ([], {"personal_data_allowed": "warning"})
    blocked = check(rows(60, BORN, MAIL), recipe=recipe)
    assert severities(blocked) == {"personal_data": "error", "personal_data_allowed": "warning"}


def test_the_curated_rows_keep_an_allowed_kind_and_the_manifest_names_it(
    check: Check, rows: Callable[..., bytes]
) -> None:
    recipe = b"data: {personal_data: redact, personal_data_allowed: [date_of_birth]}"
    checked = check(rows(60, BORN, MAIL), recipe=recipe)
    written = checked.train + checked.eval
    assert (b"DOB: 12/03/1958" in written, b"anna@" in written, b"[EMAIL_1]" in written) == (True, False, True)
    policy = curated_version(checked.result, "part-codes", SOURCE).policy
    assert (policy.personal_data, policy.personal_data_allowed) == ("redact", ("date_of_birth",))


def test_an_unknown_kind_is_refused_by_name(check: Check, rows: Callable[..., bytes]) -> None:
    checked = check(rows(60), recipe=b"data: {personal_data_allowed: [email, shoe_size]}")
    problem = checked.result.report.problems[0]
    assert problem.code == "recipe_value"
    assert problem.message.startswith("data.personal_data_allowed[1]: Input should be 'payment_card', 'iban'")
