"""Registered models."""

from __future__ import annotations

import pytest

from shared.domain.errors import PermanentFailure
from shared.domain.jobs import ModelSpec
from tests.unit.local_stack.azure_ml.support import Local


def test_a_model_without_files_is_refused(local: Local) -> None:
    nothing = ModelSpec(name="nothing", version="1", uri="azureml://datastores/models/paths/nothing/")
    with pytest.raises(PermanentFailure, match="no files at"):
        local.client.register_model(nothing)
