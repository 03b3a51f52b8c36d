"""Chat templates are rendered in a sandbox."""

from __future__ import annotations

import pytest

from shared.rendering.check import TokenCheck
from tests.unit.shared.rendering.support import NO_LIMIT, answer, with_template


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.append('x') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% include 'x' %}",
    ],
)
def test_a_template_reaches_nothing_outside_its_sandbox(template: str) -> None:
    check = TokenCheck(with_template(template + "{% generation %}{% endgeneration %}"), NO_LIMIT)
    assert check.rows([answer("A bolt.")])[0].codes == ("row_not_renderable",)
