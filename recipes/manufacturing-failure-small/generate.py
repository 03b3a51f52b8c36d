"""Sample data of failure prediction, for the tiny base: the simulation of `manufacturing-failure` with small words.

python recipes/manufacturing-failure-small/generate.py [DIR]
"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
FULL = HERE.with_name("manufacturing-failure") / "generate.py"


def main(folder: Path = HERE) -> None:
    runpy.run_path(str(FULL))["main"](folder, HERE / "words.toml")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*map(Path, sys.argv[1:]))
