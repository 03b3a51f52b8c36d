"""Registered models: immutable versions that point at a folder."""

from __future__ import annotations

from pathlib import Path

from local_stack.azure_ml import events
from local_stack.azure_ml.config import Config, arm_id, system_data
from local_stack.azure_ml.store import Document, Store
from local_stack.azure_ml.strict import ArmError, check_keys, local_path, user_error


class Models:
    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store

    def put(self, workspace: str, name: str, version: str, body: Document) -> tuple[int, Document]:
        if self._config.strict:
            check_keys("model", body)
        properties = body.get("properties") or {}
        if not properties.get("modelUri"):
            raise user_error("a model needs a modelUri")
        if not local_path(properties["modelUri"], self._config.blob_root).exists():
            raise user_error(f"no files at {properties['modelUri']}")
        key = f"{name}:{version}"
        with self._store.transaction():
            known = self._store.get("model", key)
            if known and known["properties"]["modelUri"] != properties["modelUri"]:
                raise ArmError(409, "UserError", f"Asset paths cannot be updated: model '{key}' has another modelUri")
            model = {
                "id": arm_id(workspace, "models", name, "versions", version),
                "name": version,
                "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
                "properties": {"flavors": {}, **properties},
                "systemData": known["systemData"] if known else system_data(events.now_iso()),
            }
            self._store.put("model", key, model)
            if known is None:
                events.model_registered(self._store, workspace, name, version, properties)
        return (200 if known else 201), model

    def get(self, name: str, version: str) -> Document:
        model = self._store.get("model", f"{name}:{version}")
        if model is None:
            raise ArmError(404, "UserError", f"model '{name}:{version}' was not found")
        return model

    def versions(self, name: str) -> list[Document]:
        """Newest first, as the SDK asks for them."""
        return self._store.all("model", f"{name}:")[::-1]

    def folder(self, model: str | None) -> Path:
        """Where the files of a model lie, by ARM id (.../models/NAME/versions/VERSION) or registry URI."""
        if (model or "").startswith("azureml://registries/"):
            return local_path(str(model), self._config.blob_root)
        parts = (model or "").split("/")
        if len(parts) < 4 or parts[-4] != "models":
            raise user_error(f"'{model}' is not a model")
        return local_path(self.get(parts[-3], parts[-1])["properties"]["modelUri"], self._config.blob_root)
