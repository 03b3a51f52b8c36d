"""The functions host of the next version (`tests/next_version.py`): `python -m tests.stack.next_host HOST-OPTIONS`.

Its jobs run in an image of another version, as those of any other release.
"""

from __future__ import annotations

import os
import sys

from local_stack import host
from shared import services
from tests.next_version import NextBus, NextStore

ENVIRONMENT = "droptune-training:next"

if __name__ == "__main__":
    services.SqliteRunStore = NextStore  # type: ignore[attr-defined]
    services.SqliteEventBus = NextBus  # type: ignore[attr-defined]
    os.environ["TRAINING_ENVIRONMENT"] = ENVIRONMENT
    sys.exit(host.main(sys.argv[1:]))
