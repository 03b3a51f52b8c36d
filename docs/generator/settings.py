"""`settings.md`: what the environment may set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.generator import markdown
from docs.generator.schema import keys_of
from infra.gate import bicep
from shared.settings import Settings

INFRA = Path(__file__).resolve().parents[2] / "infra"
INTRODUCTION = """\
Settings are environment variables of the function app. The defaults run everything on a laptop. Each service is chosen
by the scheme of its URL, so a laptop may use one real service beside embedded ones. A variable that is not in this
table is ignored. The column "on Azure" is what the template sets."""
HEAD = ("setting", "type", "default", "on Azure", "meaning")


def page() -> str:
    azure = values_on_azure()
    rows = [
        (markdown.code(key.name.upper()), key.type, key.default, azure.get(key.name.upper(), ""), key.meaning)
        for key in keys_of(Settings)
    ]
    return markdown.page(
        "Settings",
        "`shared/settings.py` and `infra/modules/app.bicep`",
        INTRODUCTION,
        markdown.table(HEAD, rows),
        '`set` in the column "on Azure" is a value that comes from the deployment.',
        "The variables of `azd` that fill the template are in [Deploy to Azure](../how-to/deploy-to-azure.md).",
    )


def values_on_azure() -> dict[str, str]:
    """What the template gives the app."""
    app = bicep.read(INFRA).files["modules/app.bicep"]
    (found,) = (resource for resource in app.resources if resource.body.get("name") == "appsettings")
    properties: dict[str, Any] = found.body["properties"]
    return {name: markdown.code(value) if isinstance(value, str) else "set" for name, value in properties.items()}
