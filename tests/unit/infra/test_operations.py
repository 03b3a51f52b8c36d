"""Rights against operations; the rules on the real files are in test_rules."""

from __future__ import annotations

import pytest

from tests.gate.operations import Operation, Right

READS = Right("job", "reader", "Microsoft.Storage/*/blobs/read", "data")


@pytest.mark.parametrize(
    ("done", "allowed"),
    [
        (Operation("job", "Microsoft.Storage/accounts/blobs/read", "data"), True),
        (Operation("job", "microsoft.storage/Accounts/blobs/READ", "data/runs"), True),
        (Operation("job", "Microsoft.Storage/accounts/blobs/write", "data/runs"), False),
        (Operation("job", "Microsoft.Storage/accounts/blobs/read", "database"), False),
        (Operation("job", "Microsoft.Storage/accounts/blobs/read", "scratch"), False),
        (Operation("control", "Microsoft.Storage/accounts/blobs/read", "data"), False),
    ],
)
def test_a_right_holds_for_its_identity_at_its_scope_and_below(done: Operation, allowed: bool) -> None:
    assert READS.allows(done) is allowed


def test_a_right_at_one_container_does_not_hold_at_another_nor_above() -> None:
    right = Right("job", "reader", "A/read", "data/runs")
    assert [right.allows(Operation("job", "A/read", scope)) for scope in ("data/runs", "data/models", "data")] == [
        True,
        False,
        False,
    ]


def test_a_right_of_the_subscription_holds_everywhere() -> None:
    assert Right("job", "reader", "A/read", "subscription").allows(Operation("job", "A/read", "workspace"))


@pytest.mark.parametrize(
    ("action", "is_wide"), [("A/write", False), ("A/*/read", False), ("A/*", True), ("A/*/write", True)]
)
def test_a_wildcard_for_more_than_reading_is_wide(action: str, is_wide: bool) -> None:
    assert Right("job", "role", action, "data").is_wide is is_wide


def test_a_reviewed_right_is_of_the_role_and_action_and_where_named_of_identity_and_scope() -> None:
    right = Right("job", "role", "A/*", "data/runs")
    entry = {"role": "role", "actions": ["A/*"]}
    assert right.is_in(entry)
    assert right.is_in({**entry, "identity": ["job"], "scope": ["data/runs"]})
    assert not right.is_in({**entry, "identity": ["control"]})
    assert not right.is_in({**entry, "scope": ["data/models"]})
    assert not right.is_in({**entry, "role": "another"})
    assert not right.is_in({**entry, "actions": ["A/read"]})
