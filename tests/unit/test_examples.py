"""How many examples and cases `make test` tries."""

from __future__ import annotations

import pytest

from tests.examples import spread


@pytest.mark.parametrize(
    ("number", "cases", "kept"),
    [(1, 9, {0}), (2, 9, {0, 8}), (3, 9, {0, 4, 8}), (4, 4, {0, 1, 2, 3}), (9, 4, {0, 1, 2, 3}), (3, 1, {0})],
)
def test_the_cases_that_stay_are_evenly_spaced_and_the_first_and_the_last_among_them(
    number: int, cases: int, kept: set[int]
) -> None:
    assert spread(number, cases) == kept


def test_the_others_of_a_table_are_left_to_ci(request: pytest.FixtureRequest) -> None:
    suite = next(one for one in request.config.pluginmanager.get_plugins() if hasattr(one, "_leave_cases_to_ci"))
    cases = [pytest.Function.from_parent(request.node.parent, name=f"of[{n}]", callobj=spread) for n in range(20)]
    for case in cases:
        case.add_marker(pytest.mark.few_cases(3))
    suite._leave_cases_to_ci(cases)
    assert [n for n, case in enumerate(cases) if not case.get_closest_marker("ci")] == [0, 10, 19]
