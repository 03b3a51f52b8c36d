"""Writes the pages of `docs/reference/` that follow from the code. `make docs` runs it; a test compares the pages."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docs.generator import cli, errors, events, http, markdown, permissions, recipe, recipes, waits
from docs.generator.schema import keys_of
from shared.domain.catalog import CATALOG, LICENSES, READINGS, USES
from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.rendering.check import TOKEN_CODES
from shared.settings import Settings
from shared.validation import codes
from tests.gate import bicep

ROOT = Path(__file__).resolve().parents[2]


def settings() -> str:
    """Beside each setting what the template gives the app."""
    app = bicep.read(ROOT / "infra").files["modules/app.bicep"]
    (found,) = (resource for resource in app.resources if resource.body.get("name") == "appsettings")
    on_azure: dict[str, Any] = found.body["properties"]
    return markdown.page("settings.md", keys=keys_of(Settings), on_azure=on_azure)


PAGES: dict[str, Callable[[], str]] = {
    "recipe.md": recipe.page,
    "recipes.md": recipes.page,
    "settings.md": settings,
    "events.md": events.page,
    "validation-codes.md": partial(
        markdown.page,
        "validation-codes.md",
        codes=codes,
        token_codes=TOKEN_CODES,
        max_recipe_bytes=MAX_RECIPE_BYTES,
    ),
    "errors.md": errors.page,
    "cli.md": cli.page,
    "http.md": http.page,
    "deadlines-and-retries.md": waits.page,
    "permissions.md": permissions.page,
    "licenses.md": partial(markdown.page, "licenses.md", licenses=LICENSES, catalog=CATALOG, uses=USES),
    "architectures.md": partial(markdown.page, "architectures.md", readings=READINGS, catalog=CATALOG),
}


def path_of(name: str) -> Path:
    """Where a page lies."""
    return ROOT / "docs" / "reference" / name
