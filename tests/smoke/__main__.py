"""Try Droptune in a subscription: `python -m tests.smoke --location REGION`, or on this machine: `--emulators`.

Exit code 0: all passed, nothing is left, or nothing was made; 1: a step failed or did not finish, nothing is left;
2: no such option or report; 3: something is left, named in the report; 128 + N: ended by signal N, nothing is left.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cli.common import make_table
from cli.display import make_console, utf8_output
from local_stack.demo.report import write_report
from local_stack.processes import REPOSITORY
from tests.smoke.commands import TABLE, Commands, Failed, masked

STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in TABLE["step"]}
*WORK, REMOVAL = STEPS
OTHER: float = TABLE["other_usd_per_hour"]
SOMETHING_LEFT = 3
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a removal by another process has to know, and may not be able to ask any more.
KEPT = ("subscription", "token")


class LimitReached(Exception):
    """Of a step's time, or of the money."""


class Interrupted(BaseException):
    """A signal asks for the end."""


def interrupt(number: int, *_: object) -> None:
    """Once: a second Ctrl-C must not leave half of it running."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def costs(price: float) -> dict[str, list[float]]:
    """[Expected, at most by the time limits] in USD of each part; `price` of the machine in USD an hour."""
    minutes = [(kind, *both) for step in STEPS.values() for kind, both in step["minutes"].items()]
    parts = {
        part: [round(sum(one[end] for one in minutes if kind in one[0]) / 60 * rate, 2) for end in (1, 2)]
        for part, kind, rate in (("GPU jobs", "job", price), ("endpoint", "endpoint", price), ("all else", "", OTHER))
    }
    return {**parts, "all": [round(sum(part[end] for part in parts.values()), 2) for end in (0, 1)]}


def names_of_failed(step: dict[str, Any]) -> list[str]:
    return [name for name, done in step["evidence"].items() if done["status"] == "failed"]


class Smoke:
    """One smoke test. `body` is its report, written to `file` before and after every step."""

    def __init__(self, file: Path, body: dict[str, Any], options: argparse.Namespace) -> None:
        if not re.fullmatch("smoke-[0-9a-f]{6}", env := body["environment"]):  # its folder will be deleted
            raise SystemExit(f"{env} is not the name of a smoke test")
        self.file, self.body, self.options, self.folder = file, body, options, REPOSITORY / ".droptune" / env
        names = dict(body["names"])
        if "subscription" in names:  # its hash, by which the subscription is found again
            names["hashed_subscription"] = names.pop("subscription")
        known = {"env": env, "folder": str(self.folder), "python": sys.executable, **names}
        self.commands = Commands(body["platform"], known)

    def save(self) -> None:
        """`result`: the steps that failed, or whether all is done. Of several removals the last one counts."""
        done = {one["name"]: one["status"] for one in self.body["steps"]}
        is_removed = (self.body["steps"][-1]["name"], done.get(REMOVAL)) == (REMOVAL, "passed")
        failed = [name for name in STEPS if done.get(name) == "failed"]
        if is_removed and not failed:  # a step that did not begin is no pass
            failed = [name for name in WORK if name not in done][:1]
        self.body["result"] = f"failed: {', '.join(failed)}" if failed else "passed" if is_removed else "not removed"
        self.body["spent_at_most_usd"] = self.spent_usd()
        write_report(self.file, json.loads(masked(json.dumps(self.body))))

    def spent_usd(self) -> float:
        """At most: a step with a GPU has it all the time, by the clock on the wall, also while this machine sleeps."""
        price, spent = self.body["cost"].get("usd_per_hour", 0.0), 0.0
        for one in self.body["steps"]:
            rate = OTHER + (price if {"job", "endpoint"} & STEPS[one["name"]]["minutes"].keys() else 0.0)
            spent += rate * one.get("seconds", time.time() - one["started"]) / 3600
        return round(spent, 2)

    def step(self, name: str) -> None:
        """Raises Failed and LimitReached."""
        limit_min = sum(allowed for _, allowed in STEPS[name]["minutes"].values())
        one: dict[str, Any] = {
            "name": name,
            "status": "running",
            "begun_at": now(),
            "started": time.time(),
            "evidence": {},
        }
        self.body["steps"].append(one)
        self.save()
        print(f"\n{name}", flush=True)

        def check(*_: object) -> None:
            if time.time() > one["started"] + 60 * limit_min:
                raise LimitReached(f"not done after {limit_min:g} minutes, its limit")
            if name != REMOVAL and self.spent_usd() > self.options.max_usd:
                raise LimitReached(
                    f"{self.spent_usd():.2f} USD may have been spent, --max-usd is {self.options.max_usd:g}"
                )

        signal.signal(signal.SIGALRM, check)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
        try:
            self._perform(name, one["evidence"])
            if name == "cost":
                self._agree_on_cost()
            states = {done["status"] for done in one["evidence"].values()}
            one["status"] = "not applicable" if states == {"not applicable"} else "passed"
        except BaseException as error:
            one |= {"status": "failed", "problem": str(error) or repr(error), "remedy": STEPS[name]["remedy"]}
            shown = bool(names_of_failed(one))  # each beside its command
            print(
                masked(f"failed: {one['remedy'] if shown else '; '.join((one['problem'], one['remedy']))}"), flush=True
            )
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            one |= {"ended_at": now(), "seconds": round(time.time() - one["started"], 1)}
            self.save()

    def _perform(self, name: str, evidence: dict[str, Any]) -> None:
        """The commands of the first and the last step all, so that one report has every problem."""
        for command in TABLE["known"]:
            self.commands.perform(command)
        for command in STEPS[name].get("command", ()):
            self.body["names"] |= {key: self.commands.values[key] for key in KEPT if key in self.commands.values}
            done = evidence[command["name"]] = self.commands.perform(command)
            found = (
                v if k in ("problem", "remedy") else f"{k} {v}" for k, v in done.items() if k not in ("status", "seen")
            )
            print(masked("; ".join(filter(None, (f"    {done['status']}: {command['name']}", *found)))), flush=True)
            if done["status"] == "failed" and name not in (WORK[0], REMOVAL):
                evidence |= {command["name"]: self.commands.perform(command) for command in TABLE["failed"]}
                break
        if failed := {key: done["problem"] for key, done in evidence.items() if done["status"] == "failed"}:
            raise Failed("; ".join(f"{key}: {problem}" for key, problem in failed.items()))

    def _agree_on_cost(self) -> None:
        """Raises Failed if there is no price, if it may cost more than allowed, or if the user does not want it."""
        known, options = self.commands.values, self.options
        if (price := options.usd_per_hour or known.get("price")) is None:
            raise Failed(f"no list price of {known['size']} was found; look it up and pass --usd-per-hour")
        parts, source = costs(float(price)), "--usd-per-hour" if options.usd_per_hour else known["price_source"]
        self.body["cost"] = {"usd_per_hour": float(price), "price": source, "other_usd_per_hour": OTHER, "usd": parts}
        print(f"tunes {known['base']}; {known['size']} costs {price} USD an hour ({source})")
        for part, (expected, most) in parts.items():
            print(f"    {part:<10}{expected:6.2f} USD expected, {most:6.2f} USD at most, by the time limits")
        if most > options.max_usd:
            raise Failed(f"it may cost {most:.2f} USD, --max-usd is {options.max_usd:g}")
        if not options.yes and (not sys.stdin.isatty() or input("go on? [y/N] ").strip().lower() != "y"):
            raise Failed("not confirmed; --yes goes on without a question")

    def work(self) -> int:
        """The exit code, and everything removed if anything was made and is not to be kept."""
        code = 0
        try:
            for name in WORK:
                self.step(name)
        except (Exception, Interrupted) as error:  # whatever it is, machines may be running
            code = 128 + signal.Signals[str(error)] if isinstance(error, Interrupted) else 1
        if not self.is_anything_made():
            shutil.rmtree(self.folder)
        elif self.options.keep:
            per_hour = self.body["cost"]["usd_per_hour"] + OTHER
            print(masked(f"kept, in Azure at up to {per_hour:.2f} USD an hour; this removes it: {self.body['remove']}"))
        else:
            return self.remove() or code
        return code

    def resume_removal(self) -> int:
        """The removal of what another process made, which was killed, kept it, or could not remove all of it."""
        steps = self.body["steps"]
        if not self.is_anything_made():
            shutil.rmtree(self.folder, ignore_errors=True)
            print("nothing was made")
            return 0
        for one in steps:
            if one["status"] == "running":
                one |= {"status": "failed", "problem": "it did not finish", "seconds": time.time() - one["started"]}
        return self.remove() or int(self.body["result"] != "passed")

    def is_anything_made(self) -> bool:
        return any(one["name"] not in WORK[: WORK.index("provision")] for one in self.body["steps"])

    def remove(self) -> int:
        """Remove everything and look whether anything is left; a Ctrl-C does not leave half of it."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        try:
            self.step(REMOVAL)
        except Exception:
            return SOMETHING_LEFT
        shutil.rmtree(REPOSITORY / ".azure" / self.body["environment"], ignore_errors=True)
        return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.smoke", description=(__doc__ or "").split("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--location", help="region of Azure")
    where.add_argument("--emulators", action="store_true", help="on this machine")
    where.add_argument("--resume-removal", type=Path, metavar="REPORT", help="remove what that smoke test made")
    parser.add_argument("--max-usd", type=float, default=40.0, help="refuse to begin, or stop, beyond it (40)")
    parser.add_argument("--usd-per-hour", type=float, help="price of the GPU machine, where no list price is found")
    parser.add_argument("--yes", action="store_true", help="do not ask before it costs something")
    parser.add_argument("--keep", action="store_true", help="remove nothing at the end")
    parser.add_argument("--report", type=Path, metavar="FILE", help=".droptune/smoke-XXXXXX.json by default")
    options = parser.parse_args(argv)
    utf8_output()
    for number in ENDING:
        signal.signal(number, interrupt)
    env = f"smoke-{secrets.token_hex(3)}"
    file = (options.resume_removal or options.report or REPOSITORY / ".droptune" / f"{env}.json").resolve()
    os.chdir(REPOSITORY)
    if options.resume_removal:
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(body, dict) or not {"platform", "environment", "names", "cost", "steps"} <= body.keys():
                raise ValueError("it is no report of a smoke test")
        except (OSError, ValueError) as error:
            print(f"{file}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            return 2
        smoke = Smoke(file, body, options)
        code = smoke.resume_removal()
    else:
        body = {"platform": "azure" if options.location else "emulators", "environment": env}
        body |= {"begun_at": now(), "cost": {}, "steps": []}
        body["remove"] = f"{sys.executable} -m tests.smoke --resume-removal {file}"
        body["names"] = {"location": options.location} if options.location else {}
        smoke = Smoke(file, body, options)
        smoke.folder.mkdir(parents=True, exist_ok=True)
        print(masked(f"report: {file}\nwhatever happens, this removes everything: {body['remove']}"))
        code = smoke.work()
    table = make_table("step", "status", "seconds", "problem", right=("seconds",))
    for one in smoke.body["steps"]:
        problem = ", ".join(names_of_failed(one)) or one.get("problem", "")
        table.add_row(one["name"], one["status"], f"{one.get('seconds', 0):.0f}", masked(problem))
    make_console().print(table)
    return code


if __name__ == "__main__":
    sys.exit(main())
