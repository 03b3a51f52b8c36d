"""The real SDK against the emulator in this process."""

from __future__ import annotations

import pytest

from tests.unit.local_stack.azure_ml.fixtures import local as local
from tests.unit.local_stack.azure_ml.fixtures import sdk_is_imported as sdk_is_imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/unit/shared/clients/azure_ml/"):
            # The SDK builds schemas in a way that marshmallow 4 will no longer have.
            item.add_marker(pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"))
