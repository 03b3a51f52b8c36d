"""Runs the command lines of `smoke.toml` and checks what they print."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

from local_stack.processes import REPOSITORY
from shared.domain.beside import read_beside

TABLE: dict[str, Any] = read_beside(__file__, "smoke.toml")
RETRY_EVERY_S = 10.0
# A report may be sent to somebody: no token, no id of a subscription, a person or an application, no address.
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECRET = re.compile(r"eyJ[\w-]+(?:\.[\w-]+)+|[\w.+#-]+@[\w-]+(?:\.[\w-]+)+|(?<=sig=)[\w%+/=-]+")


class Failed(Exception):
    """What was checked does not hold; the message says what."""


def masked(text: str) -> str:
    """An id becomes the beginning of its hash, so that two places can still be compared."""
    text = _SECRET.sub("***", text.replace(f"{REPOSITORY}/", ""))
    return _ID.sub(lambda id: f"id-{hashlib.sha256(id[0].lower().encode()).hexdigest()[:8]}", text)


class Commands:
    """`platform` is azure or emulators; `values` fill in the command lines, and grow by what these print."""

    def __init__(self, platform: str, values: dict[str, str]) -> None:
        self.platform, self.values = platform, {**TABLE["values"], **TABLE[platform], **values}

    def perform(self, command: dict[str, Any]) -> dict[str, Any]:
        """What happened, for the report: a status, and what was seen, or the problem and its remedy."""
        if command.get("on", self.platform) != self.platform:
            return {"status": "not applicable"}
        status = command.get("otherwise", "failed")
        until = time.monotonic() + 60 * command.get("retry", 0) * (self.platform == "azure")
        while True:
            try:
                return {"status": "passed", **self._once(command)}
            except KeyError as missing:
                problem, code, status = f"{missing} is not known", 0, command.get("unknown", status)
                until = 0.0  # nor will it be
            except subprocess.CalledProcessError as error:
                output, code = (error.stderr or error.stdout or "see above").strip()[-500:], error.returncode
                problem = f"code {code}: {output}"
            except FileNotFoundError as error:
                problem, code = f"there is no program {error.filename}", 0
            except (Failed, OSError) as error:
                problem, code = str(error), 0
            if time.monotonic() >= until or code not in command.get("retry_codes", (code,)):
                remedy = command.get("remedy", "").format_map(defaultdict(lambda: "?", self.values))
                return {"status": status, "problem": problem, "remedy": remedy}
            time.sleep(RETRY_EVERY_S)

    def _once(self, command: dict[str, Any]) -> dict[str, Any]:
        seen = self.values[command["masked"]] if "masked" in command else ""
        rows = [line.split() for line in self._output(command["each"]).splitlines()] if "each" in command else [[]]
        printed = "\n".join(self._output(command["run"], *row, shown="shown" in command) for row in rows)
        if seen:
            printed = "\n".join(line for line in printed.splitlines() if masked(line) == masked(seen))
        pattern = command.get("pattern", "").format_map({name: re.escape(value) for name, value in self.values.items()})
        if "none" in command:
            if left := [line.strip()[:200] for line in printed.splitlines() if re.search(pattern, line)]:
                raise Failed(f"left: {'; '.join(left)}")
            return {}
        if (match := re.search(pattern, printed)) is None:
            raise Failed(f"it printed {printed[:300]!r}")
        found: dict[str, Any] = match.groupdict()
        if "twice_the_cores" in command and int(found["limit"]) - int(found["used"]) < 2 * int(self.values["cores"]):
            raise Failed(f"{int(found['limit']) - int(found['used'])} cores are free")
        self.values.update(found)
        return {} if "secret" in command else found or {"seen": printed[-300:]}

    def _output(self, command: list[str], *row: str, shown: bool = False) -> str:
        arguments = [part.format(*row, **self.values) for part in command]
        known = {}
        for name, text in TABLE["variables"].items():
            with suppress(KeyError):
                known[name] = text.format(**self.values)
        pipe, env = None if shown else subprocess.PIPE, {**os.environ, **known}
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=env, check=True
        )
        return (done.stdout or "").strip()
