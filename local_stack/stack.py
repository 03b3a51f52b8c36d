"""Start and stop the local stack: the Azure ML emulator and the functions host, as detached processes.

    python -m local_stack.stack up|down --root DIR [--port PORT] [--emulators]

Runs, messages and blobs are kept in SQLite and files; with `--emulators` in emulators of Cosmos DB, Service Bus and
Blob Storage, three parts more. A folder keeps the choice of its first `up`.

`DIR/stack.json` holds what runs where. It outlives a crash, so `up` comes back on the same ports with the
same state. `DIR/environments.json`, if there is one, adds to the environments of jobs and deployments, or
replaces some (`local_stack.azure_ml.config.Environment`). Exit code 0: done; 1: a part did not start.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from local_stack import emulators
from local_stack.azure_ml.tokens import load_secret
from local_stack.processes import MARK, REPOSITORY, StackProcess, free_port, marked, stop
from local_stack.tiny_base.shipped import WEIGHTS, BaseModelDamaged, place_base
from shared.services import build_blob_store
from shared.settings import CLOUD

API_PORT = 7071
READY_WITHIN_S = 90.0
LOG_LINES_SHOWN, LOG_LINE_CHARACTERS = 30, 240
PARTS = ("azure_ml", "host")
ENVIRONMENTS = "environments.json"


class StartFailed(Exception):
    """A part of the stack did not become ready; the message ends with its last log lines."""


@dataclass(slots=True)
class Stack:
    """What `stack.json` says. Only meaningful while `locked(root)` is held, or to read a URL."""

    root: Path
    parts: dict[str, StackProcess] = field(default_factory=dict)
    on_emulators: bool = False

    @classmethod
    def load(cls, root: Path) -> "Stack":
        """The stack of a folder; one that was never started has no parts."""
        root = root.resolve()
        try:
            body = json.loads((root / "stack.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(root)
        parts = {name: StackProcess(**part) for name, part in body["parts"].items()}
        return cls(root, parts, body.get("on_emulators", False))

    def save(self) -> None:
        """Write `stack.json` so that a reader sees the old or the new content."""
        running = all(name in self.parts and self.parts[name].pid for name in self.names)
        body = {
            "on_emulators": self.on_emulators,
            "stores": self.stores if running else None,
            "api_url": self.api_url if running else None,
            "azure_ml_url": self.azure_ml_url if running else None,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
        }
        partial = self.root / f".stack.json.{os.getpid()}"
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.root / "stack.json")

    @property
    def names(self) -> tuple[str, ...]:
        """The parts in the order they start."""
        return (*emulators.PARTS, *PARTS) if self.on_emulators else PARTS

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.parts['host'].port}"

    @property
    def azure_ml_url(self) -> str:
        workspace = "subscriptions/local/resourceGroups/local/workspaces/local"
        return f"azureml+http://127.0.0.1:{self.parts['azure_ml'].port}/{workspace}"

    @property
    def azure_ml_secret(self) -> str:
        """What the Azure ML emulator takes as a bearer token, kept in its folder."""
        return load_secret(self.azure_ml_folder)

    @property
    def azure_ml_folder(self) -> Path:
        return self.root / "azure_ml"

    @property
    def stores(self) -> dict[str, str]:
        """The settings that say where runs, messages and blobs are kept."""
        if self.on_emulators:
            return emulators.settings({name: self.parts[name].port for name in emulators.PARTS})
        return {
            "RUN_STORE_URL": f"sqlite:///{self.root / 'state.db'}",
            # In Azure a lock lasts a minute: too long to wait after a crash of a local stack.
            "EVENT_BUS_URL": f"sqlite:///{self.root / 'bus.db'}?lock_s=10",
            "BLOB_STORE_URL": f"file:{self.root / 'blobs'}",
        }

    def running(self) -> bool:
        return all(name in self.parts and self.parts[name].process() for name in self.names)

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def command(self, name: str) -> list[str]:
        """How a part is started."""
        if name in emulators.PARTS:
            return emulators.part_command(name, self.parts[name].port, self.root)
        if name == "host":
            options = ["--watch", "--state", f"{self.root / 'host'}"]
        else:
            options = ["--root", f"{self.azure_ml_folder}", "--blob-root", f"{self.root / 'blobs'}"]
            options += ["--event-bus", self.stores["EVENT_BUS_URL"]]
            if self.on_emulators:
                options += ["--blob-store", self.stores["BLOB_STORE_URL"]]
            if (environments := self.root / ENVIRONMENTS).exists():
                options += ["--environments", f"{environments}"]
        return [sys.executable, "-m", f"local_stack.{name}", "--port", f"{self.parts[name].port}", *options]

    def environment(self, name: str) -> dict[str, str]:
        """Settings of a part. Small models are fastest on one thread each, and nothing is downloaded."""
        if name in emulators.PARTS:
            return {**os.environ, MARK: str(self.root)}
        loopback = "127.0.0.1,localhost"
        secret = {"AZURE_ML_SECRET": self.azure_ml_secret} if name == "host" else {}
        # The host of this stack listens on loopback only, in a pod or a container too.
        environ = {name: value for name, value in os.environ.items() if name.lower() not in CLOUD}
        return {
            **environ,
            **self.stores,
            "AZURE_ML_URL": self.azure_ml_url,
            **secret,
            "DEFAULT_BASE_MODEL": "droptune/tiny-llama",
            "API_AUTH_URL": "loopback:",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": loopback,
            "no_proxy": loopback,
            MARK: str(self.root),
        }


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time in a folder."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "stack.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def up(root: Path, port: int | None, *, on_emulators: bool = False, base: Path = WEIGHTS) -> Stack:
    """Start what does not run yet and wait until it is ready; a fresh folder gets the tiny base model in `base`.

    Raises StartFailed; parts that were started stay for inspection, `down` stops them. Raises NotInstalled
    for emulators that cannot be installed.
    """
    with locked(root):
        stack = Stack.load(root)
        if on_emulators and not stack.on_emulators:
            if stack.parts:
                raise StartFailed(f"{root} has its state in SQLite and files; emulators need a folder of their own")
            stack.on_emulators = True
        if stack.running():
            print("it runs already, with the settings it was started with; to change them, stop it first")
        else:
            _start_parts(stack, port, base)
        print(f"API and dashboard: {stack.api_url}   logs: {stack.log('host').parent}")
        return stack


def _start_parts(stack: Stack, port: int | None, base: Path) -> None:
    stack.log("host").parent.mkdir(parents=True, exist_ok=True)
    if stack.on_emulators:
        install_emulators()
        for name in emulators.PARTS:
            _start_where_it_was(stack, name)
        emulators.create_run_container(stack.stores["RUN_STORE_URL"])
        emulators.create_blob_containers(stack.stores["BLOB_STORE_URL"], emulators.CONTAINERS)
    place_base(build_blob_store(stack.stores["BLOB_STORE_URL"]), base)
    _start_where_it_was(stack, "azure_ml")
    known_api = stack.parts["host"].port if "host" in stack.parts else None
    _start(stack, "host", port if port is not None else known_api or API_PORT)


def install_emulators() -> None:
    """Raises NotInstalled."""
    if not emulators.installed():
        print("installing the emulators of Cosmos DB and Blob Storage from npm, once", flush=True)
    emulators.install()


def _start_where_it_was(stack: Stack, name: str) -> None:
    known = stack.parts[name].port if name in stack.parts else None
    _start(stack, name, known)
    if stack.parts[name].port != known:
        for other in PARTS:
            if other != name and other in stack.parts:
                stop([stack.parts[other].process()])  # it has the former URL


def _start(stack: Stack, name: str, port: int | None) -> None:
    if name in stack.parts and stack.parts[name].process():
        return
    stack.parts[name] = part = StackProcess(free_port(port))
    started, log = time.monotonic(), stack.log(name)
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            stack.command(name),
            cwd=REPOSITORY,
            env=stack.environment(name),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    part.pid, part.started_at = process.pid, psutil.Process(process.pid).create_time()
    stack.save()
    _wait_until_ready(name, process, log, offset)
    print(f"{name} is ready after {time.monotonic() - started:.1f} s", flush=True)


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], log: Path, offset: int) -> None:
    """A part says so in its log."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        ended = process.poll() is not None
        with log.open("rb") as file:
            file.seek(offset)
            if any(line.startswith(emulators.READY) for line in file):
                return
        if ended:
            raise StartFailed(f"{name} ended with code {process.returncode}; {log} ends with:\n{tail(log)}")
        time.sleep(0.05)
    raise StartFailed(f"{name} is not ready after {READY_WITHIN_S:.0f} s; {log} ends with:\n{tail(log)}")


def tail(log: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last lines of a log, indented and cut to a readable length; a placeholder if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line[:LOG_LINE_CHARACTERS]}" for line in text[-lines:]) or "  (empty)"


def down(root: Path) -> None:
    """Stop the stack with every job and deployment it started; ports and state stay for the next `up`."""
    if not root.exists():
        return
    with locked(root):
        stack = Stack.load(root)
        ran = [name for name in stack.names if name in stack.parts and stack.parts[name].process()]
        # The host first: it would take an emulator's going for a fault.
        for name in reversed(stack.names):
            if name in stack.parts:
                stop([stack.parts[name].process()])
                stack.parts[name].pid = None
        while left := marked(stack.root):  # one that was starting may start another
            stop(left)
        if stack.parts:
            stack.save()
            print(f"stopped the stack in {root}" if ran else f"nothing ran in {root}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local_stack.stack", description="Run Droptune here.")
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--root", type=Path, default=Path(".droptune"), help="folder of the stack's state")
    parser.add_argument("--port", type=int, help=f"of the API, 0 for any; else the last one, else {API_PORT}")
    parser.add_argument("--emulators", action="store_true", help="in place of SQLite and files, when first started")
    arguments = parser.parse_args(argv)
    try:
        if arguments.action == "up":
            up(arguments.root, arguments.port, on_emulators=arguments.emulators)
        else:
            down(arguments.root)
    except (StartFailed, BaseModelDamaged, emulators.NotInstalled) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
