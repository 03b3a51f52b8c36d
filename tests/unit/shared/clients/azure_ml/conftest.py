"""The client against the emulator in this process."""

from __future__ import annotations

from tests.unit.local_stack.azure_ml.fixtures import local as local
