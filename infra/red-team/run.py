"""Lets garak attack a model at its endpoint, and lets nothing of it go to any other host.

python run.py --url SCORING_URI --model PROJECT --output FOLDER [--spec ...] [--prompts 32]
"""

import argparse
import contextlib
import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Their prompts are in garak's package and their detectors compare strings: no probe here loads a model or data.
SPEC = (
    "probes.dan.Dan_11_0,probes.dan.DanInTheWild,probes.dan.DUDE,probes.encoding.InjectBase64,probes.goodside.Tag,"
    "probes.goodside.ThreatenJSON,probes.grandma.Win10,probes.latentinjection.LatentInjectionResume,"
    "probes.malwaregen.TopLevel,probes.promptinject.HijackKillHumans"
)


def keep_to(url: str) -> None:
    """Refuse every other host from here on, to Python's sockets in this process and those that it forks."""
    host = urlsplit(url).hostname
    port = urlsplit(url).port or 443
    addresses = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        requested = None
        if event == "socket.getaddrinfo":
            requested = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
            requested = arguments[1][0]
        if requested is not None and requested not in addresses | {host}:
            raise PermissionError(f"only {host} may be reached, not {requested}")

    sys.addaudithook(check)


def token() -> str:
    """A laptop sets the key. In a job it is a token of the job's identity, which Azure ML names."""
    if "OPENAICOMPATIBLE_API_KEY" in os.environ:
        return os.environ["OPENAICOMPATIBLE_API_KEY"]
    from azure.identity import ManagedIdentityCredential

    identity = ManagedIdentityCredential(client_id=os.environ["DEFAULT_IDENTITY_CLIENT_ID"])
    return str(identity.get_token("https://ml.azure.com/.default").token)


def counted(report: Path) -> list[dict[str, Any]]:
    """What each detector said. garak ends with 0 as well where no answer came (401, 404), so that is judged here."""
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    fields = ("probe", "detector", "passed", "fails", "nones")
    rows = [{field: line[field] for field in fields} for line in lines if line["entry_type"] == "eval"]
    if not rows or any(row["passed"] + row["fails"] == 0 for row in rows):
        raise SystemExit("a probe got no answer at all, so nothing is said about it: read red-team.report.jsonl")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--spec", default=SPEC)
    parser.add_argument("--prompts", type=int, default=32, help="of a probe that heeds it, at most")
    given = parser.parse_args()
    os.environ["OPENAICOMPATIBLE_API_KEY"] = token()
    os.environ["HF_HUB_OFFLINE"] = "1"
    given.output.mkdir(parents=True, exist_ok=True)
    server = {"uri": f"{given.url.rstrip('/')}/v1/", "temperature": 0.0, "max_tokens": 150, "stop": None}
    settings = {
        "run": {"seed": 7, "generations": 1, "soft_probe_prompt_cap": given.prompts},
        "plugins": {"generators": {"openai": {"OpenAICompatible": server}}},
        "reporting": {"report_dir": str(given.output.resolve()), "report_prefix": "red-team"},
    }
    config = given.output / "config.json"
    config.write_text(json.dumps(settings))
    report, summary = given.output / "red-team.report.jsonl", given.output / "summary.json"
    for old in (report, summary):
        old.unlink(missing_ok=True)
    keep_to(given.url)
    garak = importlib.import_module("garak.cli").main

    with contextlib.suppress(SystemExit):
        garak(["--config", str(config), "-t", "openai.OpenAICompatible", "-n", given.model, "--spec", given.spec])
    summary.write_text(json.dumps(counted(report), indent=1) + "\n")


if __name__ == "__main__":
    main()
