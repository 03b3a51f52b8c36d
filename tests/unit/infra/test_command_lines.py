"""`make check` finds the `az` command lines of hooks and pages, and the real Azure CLI refuses those that it lacks."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.paths import ROOT
from tests.unit.infra.conftest import AZURE_CLI
from tests.unit.infra.recorded_azure import HOOKS

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(not AZURE_CLI.exists(), reason="the Azure CLI is not installed; `make check` does that"),
]
PAGE = """
Run `az group list --nonsense` first.

    again az provider register --namespace "$one" \\
        --wait
    x=$(az account show --query "user[")

```sh
az acr bild --registry x .
az account show
```
"""
SCRIPT = """
import json, sys
from tests.azure_cli.command_lines import of_page, of_repository, refusal
page = [(one.where, one.words, refusal(one.words)) for one in of_page(sys.argv[1], "page.md")]
print(json.dumps([page, [one.where for one in of_repository()]]))
"""


def test_every_command_line_is_found_and_what_the_cli_lacks_is_refused() -> None:
    done = subprocess.run([AZURE_CLI, "-c", SCRIPT, PAGE], cwd=ROOT, capture_output=True, text=True, check=True)
    page, places = json.loads(done.stdout)
    refused = {tuple(words): reason for _, words, reason in page if reason}
    assert refused.keys() == {
        ("group", "list", "--nonsense"),
        ("account", "show", "--query", "user["),
        ("acr", "bild", "--registry", "x", "."),
    }
    assert refused["group", "list", "--nonsense"] == "unrecognized arguments: --nonsense"
    accepted = [(where, words) for where, words, reason in page if not reason]
    assert accepted == [
        ("page.md:4", ["provider", "register", "--namespace", "x", "--wait"]),
        ("page.md:10", ["account", "show"]),
    ]
    for hook in HOOKS.glob("*.sh"):
        lines = [line for line in hook.read_text().splitlines() if not re.search(r"^\s*#|echo ", line)]
        assert sum(place.startswith(f"{hook.name}:") for place in places) == sum(
            len(re.findall(r"\baz [a-z]", line)) for line in lines
        )
