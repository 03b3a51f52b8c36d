"""Run the demo: `python -m local_stack.demo [--recipe manufacturing] [--base FOLDER] [--emulators]`.

Exit code 0: the model was promoted, beats its base beyond doubt, and answers; its stack keeps running. 1: it did
not, and why. 128 + N: ended by signal N, so 130 after Ctrl-C. Unless 0, the stack was stopped.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cli.client import Api, RequestRefused, Unreachable
from cli.common import InputError
from cli.display import make_console, show, utf8_output
from cli.follow import follow, next_run
from cli.view import seconds as as_time
from cli.view import verdict_view
from local_stack import stack
from local_stack.azure_ml.tokens import SECRET_FILE
from local_stack.demo.prepare import DemoBase, DemoFailed, demo_base, drop, drops, fresh, offer, recipe_folder
from local_stack.demo.report import EndpointExample, ask, demo_report, shortfall, write_report
from local_stack.emulators import NotInstalled
from local_stack.tiny_base.shipped import WEIGHTS, BaseModelDamaged
from shared.domain.errors import DroptuneError
from shared.domain.paths import DATASETS
from shared.domain.run import Run
from shared.services import build_blob_store

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoInterrupted(BaseException):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as a shell reports it


def raise_on_signals() -> None:
    """Make Ctrl-C, `kill` and a closed terminal raise DemoInterrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise DemoInterrupted(number)

    for number in _ENDING:
        signal.signal(number, interrupt)


@contextmanager
def stopped_unless_done(root: Path) -> Iterator[None]:
    """Stop the stack in `root` if the block raises. After `kill -9`, `make down` stops what is left."""
    try:
        yield
    except BaseException:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        stack.down(root)
        raise


DEFAULT_ROOT, EMULATORS_ROOT = Path(".droptune/demo"), Path(".droptune/demo-emulators")  # `make down` knows both
LOGS_SHOWN = 4
FAILURES = (DemoFailed, InputError, stack.StartFailed, BaseModelDamaged, RequestRefused, Unreachable, DroptuneError)


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    on_emulators: bool = arguments.emulators
    root: Path = arguments.root or (EMULATORS_ROOT if on_emulators else DEFAULT_ROOT)
    utf8_output()
    raise_on_signals()
    try:
        base = demo_base(arguments.base)
        folder = recipe_folder(arguments.recipe, base.id)
        if on_emulators:
            stack.install_emulators()
        fresh(root, base.folder, folder)
        with stopped_unless_done(root), _logs_printed_if_it_fails(root):
            _demo(folder, root, arguments.port, on_emulators=on_emulators, base=base)
    except NotInstalled as error:
        print(f"the demo cannot run on emulators: {error}")
        return 1
    except FAILURES as error:
        print(f"\nthe demo failed: {error}")
        return 1
    except DemoInterrupted as interrupted:
        print(f"\nthe demo was stopped: {interrupted}")
        return interrupted.exit_code
    return 0


def _demo(folder: Path, root: Path, port: int | None, *, on_emulators: bool, base: DemoBase) -> None:
    started = time.monotonic()
    spent: dict[str, float] = {}
    with _timed(spent, "start"):
        running = stack.up(root, port, on_emulators=on_emulators, base=base.tiny)
    place = f"{running.stores['BLOB_STORE_URL'] if on_emulators else root / 'blobs'}/{DATASETS}"
    project = folder.name
    with Api(running.api_url) as api:
        offer(base, api, build_blob_store(running.stores["BLOB_STORE_URL"]))
        runs: list[Run] = []
        for part in drops(folder):
            with _timed(spent, "drop_to_run"):
                drop(part, build_blob_store(running.stores["BLOB_STORE_URL"]), project, place, base.id)
                run_id = next_run(api, project, lambda id: id not in [run.id for run in runs])
            terminal = make_console()
            runs.append(show(terminal, follow(api, run_id)))
            terminal.print(verdict_view(api, runs[-1]))
            if shortfall(runs[-1]):
                break
    run = runs[-1]
    example, problem = None, shortfall(run)
    try:
        if problem is None and run.rollout and run.rollout.scoring_uri:
            example = ask(run.rollout.scoring_uri, folder / "eval.jsonl", root / "azure_ml" / SECRET_FILE)
    except DemoFailed as error:
        problem = str(error)
    spent["total"] = time.monotonic() - started
    write_report(root / "report.json", demo_report(runs, example, spent, running.stores))
    if example is None:
        raise DemoFailed(problem or "the run has no address of its endpoint")
    _print_end(example, running, root, spent["total"])


def _print_end(example: EndpointExample, running: stack.Stack, root: Path, total_s: float) -> None:
    command = Path(sys.executable).with_name("droptune")
    by_hand = f"{sys.executable} -m local_stack.stack down --root {root}"
    stop = "make down" if root in (DEFAULT_ROOT, EMULATORS_ROOT) else by_hand
    stores = "\n             ".join(f"{name}={url}" for name, url in running.stores.items())
    stores = f"on emulators {stores}\n" if running.on_emulators else ""
    print(
        f"""
the tuned model answers at its endpoint; this request was just made:

{example.curl()}

  question  {example.question}
  answer    {example.answer}
  reference {example.reference}

API          {running.api_url}/api/runs   (list them: {command} runs --url {running.api_url})
your data    {command} drop train.jsonl --project YOUR-PROJECT --watch --url {running.api_url}
report       {root / "report.json"}
stop         {stop}
{stores}
done in {as_time(total_s)}"""
    )


@contextmanager
def _logs_printed_if_it_fails(root: Path) -> Iterator[None]:
    """The ends of the logs written last: parts, jobs and deployments."""
    try:
        yield
    except FAILURES:
        found = [*root.rglob("*.log"), *root.rglob("*_log.txt")]
        logs = sorted(found, key=lambda log: log.stat().st_mtime, reverse=True)
        for log in logs[:LOGS_SHOWN]:
            print(f"\n{log} ends with:\n{stack.tail(log, 15)}")
        raise


@contextmanager
def _timed(spent: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    spent[name] = spent.get(name, 0.0) + time.monotonic() - started


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--recipe", default="manufacturing", help="folder under recipes/, or a path to another; its name is the project"
    )
    parser.add_argument("--root", type=Path, help=f"wiped at the start; {DEFAULT_ROOT} or {EMULATORS_ROOT}")
    parser.add_argument("--emulators", action="store_true", help="of Cosmos DB, Service Bus and Blob Storage")
    parser.add_argument("--base", default=str(WEIGHTS), help="folder of a base model, or its id in the catalog")
    parser.add_argument("--port", type=int, help="of the API; 7071 by default, another if that is taken")
    return parser


if __name__ == "__main__":
    sys.exit(main())
