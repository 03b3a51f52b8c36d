"""The smoke test with other commands in the steps of its table: `python driver.py COMMANDS.json OPTIONS...`.

COMMANDS.json holds, by step, its commands and, where they differ, its minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.smoke import commands

for step in commands.TABLE["step"]:
    step["command"] = []
    step |= json.loads(Path(sys.argv[1]).read_text()).get(step["name"], {})
commands.TABLE |= {"known": [], "failed": []}

if __name__ == "__main__":
    from tests.smoke.__main__ import main

    sys.exit(main(sys.argv[2:]))
