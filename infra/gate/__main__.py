"""`python -m infra.gate [--checkov PROGRAM] [--types FOLDER]`: one line per finding, exit code 1 if there is one."""

import argparse
import sys
from pathlib import Path

from infra.gate import access, bicep, checkov, names, product, properties, shape, types  # noqa: F401  # rules register
from infra.gate.finding import RULES, check_all

INFRA = Path(__file__).parents[1]


def main(arguments: list[str], folder: Path = INFRA) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.gate", description="Checks infra/.")
    parser.add_argument("--checkov", type=Path, metavar="PROGRAM", help="run checkov too")
    parser.add_argument("--types", type=Path, metavar="FOLDER", help="compare with a checkout of Azure/bicep-types-az")
    options = parser.parse_args(arguments)
    infra = bicep.read(folder)
    found = check_all(infra)
    if options.checkov is not None:
        found += checkov.findings(options.checkov, folder)
    if options.types is not None:
        found += types.findings(infra, options.types)
    for finding in found:
        print(finding)
    if not found:
        count = sum(1 for _ in infra.resources)
        reported = "checkov reports nothing new" if options.checkov else "checkov was not run"
        print(f"infra: {len(infra.files)} files, {count} resource declarations, {len(RULES)} rules kept; {reported}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
