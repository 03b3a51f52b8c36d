"""Writes the pages of `docs/reference/` that follow from the code. `make docs` runs it; a test compares the pages."""

from collections.abc import Callable
from pathlib import Path

from docs.generator import (
    architectures,
    cli,
    codes,
    errors,
    events,
    http,
    licenses,
    permissions,
    recipe,
    recipes,
    settings,
    waits,
)

ROOT = Path(__file__).resolve().parents[2]
PAGES: dict[str, Callable[[], str]] = {
    "recipe.md": recipe.page,
    "recipes.md": recipes.page,
    "settings.md": settings.page,
    "events.md": events.page,
    "validation-codes.md": codes.page,
    "errors.md": errors.page,
    "cli.md": cli.page,
    "http.md": http.page,
    "deadlines-and-retries.md": waits.page,
    "permissions.md": permissions.page,
    "licenses.md": licenses.page,
    "architectures.md": architectures.page,
}


def path_of(name: str) -> Path:
    """Where a page lies."""
    return ROOT / "docs" / "reference" / name
