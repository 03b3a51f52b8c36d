"""Properties that have to be there, in the resource itself and as a literal: what would lose data, money or secrets."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from shared.domain.beside import read_beside
from tests.gate.bicep import Expr, Infra
from tests.gate.finding import RULES, Violations, at

GIVEN = Expr("GIVEN")  # stands for any value: the property must only be there
_SPECIAL: dict[str, Callable[[Any], Any]] = {"bicep": Expr, "given": lambda given: GIVEN if given else None}
Required = dict[str, dict[str, Any]]  # type -> path below properties -> value


def _value(written: Any) -> Any:
    return next(_SPECIAL[key](one) for key, one in written.items()) if isinstance(written, dict) else written


def _required(infra: Infra, expected: Required) -> Violations:
    for kind, paths in expected.items():
        resources = infra.of_type(kind)
        if not resources:
            yield "infra", f"no {kind}"
        for resource, (path, written) in product(resources, paths.items()):
            value = _value(written)
            found = resource.get(f"properties.{path}")
            if found is None if value is GIVEN else found != value:
                yield at(resource), f"{resource.symbol}.{path} must be {_shown(value)}, is {_shown(found)}"


def _shown(value: Any) -> str:
    if value is GIVEN:
        return "there"
    return value.text if isinstance(value, Expr) else "absent" if value is None else repr(value)


for _name, _expected in read_beside(__file__).items():
    RULES[_name] = partial(_required, expected=_expected)
