"""The processes of a job with a PyTorch distribution, all on this machine.

    python -P local_stack/azure_ml/distributed.py --instances N --processes M --port P --grace-s S -- COMMAND...

Cited (Azure docs, "Distributed GPU training guide"): the command is started `processes` times on each of `instances`
machines, with MASTER_ADDR, MASTER_PORT, WORLD_SIZE, NODE_RANK, RANK and LOCAL_RANK; WORLD_SIZE counts all processes.
Assumed, no document states it: the first process that fails ends the job with its exit code, and the others are
stopped (SIGTERM, later SIGKILL). Nothing of the product may depend on that: a platform may as well let them wait.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

POLL_EVERY_S = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(prog="local_stack.azure_ml.distributed")
    parser.add_argument("--instances", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True, help="per instance")
    parser.add_argument("--port", required=True, help="where processes meet")
    parser.add_argument("--grace-s", type=float, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is sent to every process of the group
    children = start(given.command, given.instances, given.processes, given.port)
    code = first_failure(children)
    if code != 0:
        stop(children, given.grace_s)
    return code


def start(command: list[str], instances: int, processes: int, port: str) -> list[subprocess.Popen[bytes]]:
    """One process a rank, in the order of ranks."""
    everywhere = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(instances * processes)}
    children = []
    for rank in range(instances * processes):
        node, local = divmod(rank, processes)
        own = {"NODE_RANK": str(node), "RANK": str(rank), "LOCAL_RANK": str(local)}
        children.append(subprocess.Popen(command, env={**os.environ, **everywhere, **own}))
    return children


def first_failure(children: list[subprocess.Popen[bytes]]) -> int:
    """The exit code of the first process that fails, as a shell has it; 0 once all have succeeded."""
    while True:
        codes = [child.poll() for child in children]
        for code in codes:
            if code:
                return 128 - code if code < 0 else code
        if None not in codes:
            return 0
        time.sleep(POLL_EVERY_S)


def stop(children: list[subprocess.Popen[bytes]], grace_s: float) -> None:
    for child in children:
        child.terminate()
    until = time.monotonic() + grace_s
    for child in children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main())
