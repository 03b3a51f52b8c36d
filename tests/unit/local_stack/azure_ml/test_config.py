"""Which environments an emulator knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_stack.azure_ml.config import ENVIRONMENTS, EmulatorConfig, load_environments


def test_a_file_adds_environments_and_changes_fields_of_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "environments.json"
    file.write_text(json.dumps({"new:1": {"serve": ["run", "{model}"]}, "droptune-serving:4": {"readiness": "/up"}}))
    table = load_environments(file)
    assert table["new:1"].serve == ("run", "{model}")
    assert table["droptune-serving:4"].readiness == "/up"
    assert table["droptune-serving:4"].any_model_name is True
    assert table["droptune-training:6"] == ENVIRONMENTS["droptune-training:6"]
    assert load_environments(None) == ENVIRONMENTS


@pytest.mark.parametrize(
    ("arm_id", "is_known"),
    [
        ("/subscriptions/s/workspaces/w/environments/droptune-serving/versions/4", True),
        ("/subscriptions/s/workspaces/w/environments/droptune-serving/versions/9", False),
        ("/subscriptions/s/workspaces/w/models/droptune-serving/versions/4", False),
        ("droptune-serving:4", False),
        (None, False),
    ],
)
def test_an_environment_is_found_by_its_arm_id_alone(arm_id: str | None, is_known: bool, tmp_path: Path) -> None:
    found = EmulatorConfig(tmp_path, tmp_path, 0).environment_of(arm_id)
    assert found == (ENVIRONMENTS["droptune-serving:4"] if is_known else None)
