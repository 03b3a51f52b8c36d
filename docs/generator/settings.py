"""`settings.md`: what the environment may set."""

from pathlib import Path
from typing import Any

from docs.generator import markdown
from docs.generator.schema import keys_of
from shared.settings import Settings
from tests.gate import bicep

INFRA = Path(__file__).resolve().parents[2] / "infra"


def page() -> str:
    azure = values_on_azure()
    rows = [
        (markdown.code(key.name.upper()), key.type, key.default, azure.get(key.name.upper(), ""), key.meaning)
        for key in keys_of(Settings)
    ]
    return markdown.page("settings.md", settings=rows)


def values_on_azure() -> dict[str, str]:
    """What the template gives the app."""
    app = bicep.read(INFRA).files["modules/app.bicep"]
    (found,) = (resource for resource in app.resources if resource.body.get("name") == "appsettings")
    properties: dict[str, Any] = found.body["properties"]
    return {name: markdown.code(value) if isinstance(value, str) else "set" for name, value in properties.items()}
