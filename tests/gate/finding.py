"""What a rule says, and the register of rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.gate.bicep import Infra, Resource


@dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.message}"


Violations = Iterator[tuple[str, str]]


Rule = Callable[[Infra], Violations]
"""Gives pairs of place and message; none if all is well."""
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    def register(check: Rule) -> Rule:
        RULES[name] = check
        return check

    return register


def at(resource: Resource) -> str:
    return f"{resource.file}:{resource.line}"


def check_all(infra: Infra) -> list[Finding]:
    return [Finding(name, where, message) for name, check in RULES.items() for where, message in check(infra)]
