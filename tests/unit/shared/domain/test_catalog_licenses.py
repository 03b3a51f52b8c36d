"""What a person accepts has a hash."""

from __future__ import annotations

import pytest

from shared.domain.catalog import License

LICENSE = License(
    id="LicenseRef-a",
    policy="review",
    texts={"https://a.example/": "0" * 64},
    barred_uses=("military",),
    obligations=("a",),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "LicenseRef-b"},
        {"texts": {"https://a.example/": "1" * 64}},
        {"barred_uses": ("military", "weapons")},
        {"obligations": ("b",)},
    ],
    ids=str,
)
def test_whatever_a_person_has_read_is_in_the_hash(changes: dict[str, object]) -> None:
    assert LICENSE.model_copy(update=changes).sha256({}) != LICENSE.sha256({})
    assert LICENSE.model_copy(update={"policy": "allow"}).sha256({}) == LICENSE.sha256({}), "no text changed"


def test_so_are_the_texts_that_the_base_ships() -> None:
    both = {"LICENSE": "0" * 64, "NOTICE": "1" * 64}
    assert len({LICENSE.sha256(one) for one in ({}, both, {**both, "NOTICE": "2" * 64}, {"LICENSE": "0" * 64})}) == 4
    assert LICENSE.sha256(dict(reversed(both.items()))) == LICENSE.sha256(both)
