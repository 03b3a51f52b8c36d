"""The functions host of the next version (`tests/next_version.py`): `python -m tests.stack.next_host HOST-OPTIONS`."""

from __future__ import annotations

import sys

from local_stack import host
from shared import services
from tests.next_version import NextBus, NextStore

if __name__ == "__main__":
    services.SqliteRunStore = NextStore  # type: ignore[attr-defined]
    services.SqliteEventBus = NextBus  # type: ignore[attr-defined]
    sys.exit(host.main(sys.argv[1:]))
