"""A base model of the tenant's own: the tiny one under another id."""

from __future__ import annotations

from typing import Any

from shared.domain.catalog import BaseModelEntry, find_entry

OWN: dict[str, Any] = {
    **find_entry("droptune/tiny-llama").model_dump(mode="json", exclude={"id", "terms", "asset", "tokenizer"}),
    "id": "acme/clinic-1",
    "license": "Apache-2.0",
    "asset": "azureml://datastores/models/paths/acme/clinic-1",
}
ENTRY = BaseModelEntry.model_validate(OWN)
