"""`permissions.md`: what each identity does in Azure, and which rights it has beyond that."""

import json
from collections import defaultdict
from typing import Any

from docs.generator import markdown
from tests.gate import bicep
from tests.gate.__main__ import INFRA
from tests.gate.operations import DATA, FILE, rights_of, surplus

IDENTITIES = ("control", "job", "importer", "serve", "events", "workspace", "deployer")
NAMES = {"workspace": "the workspace's own", "deployer": "who deploys"}


def page() -> str:
    infra = bicep.read(INFRA)
    recorded = json.loads((INFRA / FILE).read_text())
    return markdown.page(
        "permissions.md",
        recorded=len(recorded),
        platform=len(DATA["platform"]),
        rights=len(list(rights_of(infra))),
        surplus=len(surplus(infra)),
        operations=[row for one in IDENTITIES for row in _rows(one, recorded)],
        accepted=[
            (
                entry["role"] if " " in entry["role"] else f"own role `{entry['role']}`",
                ", ".join(map(_name, entry.get("identity", []))) or "each that has it",
                markdown.listed(map(short, entry["actions"])),
                entry["reason"],
            )
            for entry in DATA["reviewed"]
        ],
    )


def _rows(identity: str, recorded: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """One for each operation of an identity: at how many places, and an example of who asks."""
    found: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)
    for one, is_recorded in [*((one, True) for one in recorded), *((one, False) for one in DATA["platform"])]:
        if one["identity"] == identity:
            found[one["operation"], is_recorded].append(one)
    return [
        (
            _name(identity),
            f"`{short(operation)}`",
            markdown.listed(sorted({one["scope"] for one in ones})),
            f"`{ones[0]['use']}`" if is_recorded else f"{ones[0]['use']} *",
        )
        for (operation, is_recorded), ones in sorted(found.items())
    ]


def _name(identity: str) -> str:
    return NAMES.get(identity, f"`id-{identity}`")


def short(operation: str) -> str:
    """Without the beginning that all have, and that of blobs."""
    blobs = "Storage/storageAccounts/blobServices/containers/blobs/"
    return operation.removeprefix("Microsoft.").replace(blobs, "Storage/.../blobs/")
