"""`python -m tests.gate [--checkov PROGRAM]`: one line per finding, exit code 1 if there is one."""

import argparse
import json
import sys
from pathlib import Path

from local_stack.azure_ml import published
from tests.gate import access, bicep, checkov, names, operations, product, properties, shape, types  # noqa: F401  # rules register
from tests.gate.finding import RULES, check_all
from tests.paths import ROOT

INFRA = ROOT / "infra"
REQUESTS = ROOT / "tests" / "golden" / "azure_ml"


def main(arguments: list[str], folder: Path = INFRA) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gate", description="Checks infra/.")
    parser.add_argument("--checkov", type=Path, metavar="PROGRAM", help="run checkov too")
    options = parser.parse_args(arguments)
    infra = bicep.read(folder)
    bodies = sorted(REQUESTS.glob("*.json"))
    found = [*check_all(infra), *types.requests(bodies)]
    if options.checkov is not None:
        found += checkov.findings(options.checkov, folder)
    for finding in found:
        print(finding)
    if not found:
        count = sum(1 for _ in infra.resources)
        reported = "checkov reports nothing new" if options.checkov else "checkov was not run"
        print(f"infra: {len(infra.files)} files, {count} resource declarations, {len(RULES)} rules kept; {reported}")
        print(f"permissions: {operations.summary(infra)}")
        stand_ins = json.loads(published.FILE.read_text())["compared_with"]  # for a TYPE@VERSION that no package has
        nearest = sum(1 for one in infra.resources if stand_ins.get(f"{one.type}@{one.version}"))
        print(
            f"published types: {count} declarations and {len(bodies)} bodies of the Azure ML client fit; "
            f"{nearest} declarations are compared with the nearest version that a package has"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
