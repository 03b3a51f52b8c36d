"""Findings that only follow from another one, or from a setting that the recipe gives wrongly."""

from collections.abc import Iterable

from shared.domain.beside import read_beside
from shared.validation.recipes import ReadRecipe

_TABLES = read_beside(__file__)
DECIDED_BY = {
    setting: frozenset(code for group in groups.split() for code in _TABLES["groups"][group].split())
    for setting, groups in _TABLES["settings"].items()
}
_FOLLOW = {code: frozenset(others.split()) for code, others in _TABLES["follow"].items()}


def followers(codes: Iterable[str]) -> frozenset[str]:
    """The codes of findings that only follow from these."""
    return frozenset().union(*(_FOLLOW.get(code, ()) for code in codes))


def consequences(recipe: ReadRecipe) -> frozenset[str]:
    """The codes of findings that may be there only because a setting is not known."""
    return frozenset().union(*(DECIDED_BY[name] for name in DECIDED_BY if not recipe.knows(*name.split("."))))
