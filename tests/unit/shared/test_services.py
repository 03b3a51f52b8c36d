"""Which client each URL gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import InvalidInput
from shared.embedded.bus import SqliteEventBus
from shared.services import build_blob_store, build_event_bus, build_run_store
from tests.paths import ROOT


def test_a_process_with_embedded_stores_imports_no_azure_sdk(tmp_path: Path) -> None:
    code = """
import sys
import shared.services, shared.validation.validator
shared.services.build_run_store("sqlite:///" + sys.argv[1]).close()
print([name for name in sys.modules if name.startswith("azure")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.db")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("build", "setting"),
    [(build_run_store, "RUN_STORE_URL"), (build_event_bus, "EVENT_BUS_URL"), (build_blob_store, "BLOB_STORE_URL")],
)
def test_a_url_that_no_client_is_built_for_is_refused_by_its_setting(build: Callable[[str], Any], setting: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build("ftp://key@example.com")
    problem = refused.value.problem
    assert (problem.code, problem.param, problem.message) == (
        "unsupported_url",
        setting,
        f"{setting}: no client for ftp:",
    )


def test_a_url_has_one_bus_in_a_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bus.db?lock_s=2"
    bus = build_event_bus(url)
    assert isinstance(bus, SqliteEventBus)
    assert build_event_bus(url) is bus
    bus.close()
