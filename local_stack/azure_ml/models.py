"""Registered models: immutable versions that point at a folder."""

from pathlib import Path

from local_stack.azure_ml import events
from local_stack.azure_ml.config import EmulatorConfig, arm_id, system_data
from local_stack.azure_ml.mounts import Mounts
from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import ArmError, check_keys, user_error


class Models:
    def __init__(self, config: EmulatorConfig, store: WorkspaceStore, mounts: Mounts) -> None:
        self._config, self._store, self._mounts = config, store, mounts

    def put(self, workspace: str, name: str, version: str, body: Document) -> tuple[int, Document]:
        check_keys("model", body)
        properties = body.get("properties") or {}
        if not properties.get("modelUri"):
            raise user_error("a model needs a modelUri")
        if not self._mounts.exists(properties["modelUri"]):
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
        return self._store.find("model", f"{name}:{version}", "UserError")

    def versions(self, name: str) -> list[Document]:
        """Newest first, as the SDK asks for them."""
        return self._store.all("model", f"{name}:")[::-1]

    def check(self, model: str | None) -> None:
        """Raises ArmError if it is no model's id, or no model is registered by it."""
        self._mounts.path(self._uri(model), self._config.root)

    def fetch(self, model: str | None, place: Path) -> None:
        """Have the files of a model, by ARM id (.../models/NAME/versions/VERSION) or registry URI, in its folder."""
        self._mounts.fetch(self._uri(model), place)

    def folder(self, model: str | None, place: Path) -> Path:
        """Where the server that has `place` to itself finds the files of a model."""
        return self._mounts.path(self._uri(model), place)

    def _uri(self, model: str | None) -> str:
        if (model or "").startswith("azureml://registries/"):
            return str(model)
        parts = (model or "").split("/")
        if len(parts) < 4 or parts[-4] != "models":
            raise user_error(f"'{model}' is not a model")
        return str(self.get(parts[-3], parts[-1])["properties"]["modelUri"])
