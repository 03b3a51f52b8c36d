"""Names as a report may show them."""

from __future__ import annotations

import pytest

from shared.validation.names import OTHER_NAMES, shown


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("context", True),
        ("Repair text", True),
        ("größe_mm", True),
        ("unit.price (EUR)", True),
        ("問い", True),
        ("patient 4711", False),
        ("12345678", False),
        ("What is the dose?", False),
        ("The pump leaks at the flange since Monday", False),
        ("jane@example.org", False),
        ("<script>", False),
        ("", False),
    ],
)
def test_a_name_is_shown_only_if_it_can_be_no_text_of_a_row(name, is_shown) -> None:
    assert (shown(name) == name) is is_shown
    assert is_shown or shown(name) == OTHER_NAMES
