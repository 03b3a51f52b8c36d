"""Python graders: foreign code in a process that the kernel confines (see confined.py).

Enforced, by the kernel: no network, no file opened, no other process seen or started, 512 MB of address space, no file
written, CPU time; by us: 5 s for an answer, an empty environment. Not enforced: it shares the CPU and its caches with
the process that started it. Linux on x86-64 or ARM64 with seccomp; elsewhere python graders fail with an error.
"""

import builtins
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.templates import Item

LIMIT_S = 5.0
MEMORY_BYTES = 512 * 2**20
# A process is replaced before its CPU limit could end it in the middle of honest work.
ANSWERS_PER_PROCESS = 500
_START_S = 20.0
_WORKER = Path(__file__).with_name("confined.py")
_MAX_REPLY_BYTES = 4096
_ERRORS = {name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)}


class Sandbox:
    """One grader's process: started when first needed, replaced after a timeout or a crash."""

    def __init__(self, source: str, *, limit_s: float = LIMIT_S, worker: Path = _WORKER) -> None:
        self._source, self._limit_s, self._worker = source, limit_s, worker
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0

    def grade(self, sample: dict[str, Any], item: Item) -> float:
        """Raises GradingFailed: the grader's own error, its silence, or a machine that cannot confine it."""
        if self._process is None or self._answered >= ANSWERS_PER_PROCESS:
            self.close()
            self._process = self._start()
        self._answered += 1
        end = time.monotonic() + self._limit_s
        self._send(self._process, {"sample": sample, "item": item}, end)
        reply = self._receive(self._process, end)
        if "error" in reply:
            raise self._failed(reply)
        score = reply.get("score")
        if not isinstance(score, float):
            raise self._broken()
        return score

    def _failed(self, reply: dict[str, Any]) -> GradingFailed:
        """In words of ours: what the grader calls its errors, and its lines, may be text of the row."""
        kind, line = reply["error"], reply.get("line")
        name = kind if isinstance(kind, str) and kind in _ERRORS else "an error of its own"
        text = f"{name} on line {line}" if line in range(1, self._source.count("\n") + 2) else name
        text = "grade returned no number" if kind == "no number" else text
        return GradingFailed(GradingErrorCode.PYTHON_RUNTIME, text)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
        self._process, self._answered = None, 0

    def _start(self) -> subprocess.Popen[bytes]:
        cpu_s = int(ANSWERS_PER_PROCESS * self._limit_s)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(self._worker), str(MEMORY_BYTES), str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={},
        )
        self._process = process
        try:
            self._receive(process, time.monotonic() + _START_S)
        except GradingFailed as error:
            raise self._broken("this machine cannot confine a python grader") from error
        self._send(process, {"source": self._source}, time.monotonic() + self._limit_s)
        return process

    def _send(self, process: subprocess.Popen[bytes], document: dict[str, Any], end: float) -> None:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        line = json.dumps(document).encode() + b"\n"
        try:
            while line:
                self._wait(process.stdin, select.POLLOUT, end)
                line = line[os.write(process.stdin.fileno(), line) :]
        except BrokenPipeError:
            return  # the end of its output is read next

    def _receive(self, process: subprocess.Popen[bytes], end: float) -> dict[str, Any]:
        assert process.stdout is not None
        reply = b""
        while not reply.endswith(b"\n"):
            self._wait(process.stdout, select.POLLIN, end)
            part = os.read(process.stdout.fileno(), _MAX_REPLY_BYTES)
            reply += part
            if not part or len(reply) > _MAX_REPLY_BYTES:
                raise self._broken("the grader's process ended (memory, CPU time or a crash)")
        try:
            document = json.loads(reply)
        except (ValueError, RecursionError) as error:
            raise self._broken() from error
        if not isinstance(document, dict):
            raise self._broken()
        return document

    def _broken(self, what: str = "the grader wrote into its own reply") -> GradingFailed:
        self.close()
        return GradingFailed(GradingErrorCode.PYTHON_SERVER, what)

    def _wait(self, pipe: IO[bytes], event: int, end: float) -> None:
        """Until the pipe can be read or written. Raises GradingFailed once `end` is over."""
        poll = select.poll()  # select.select knows no descriptor above 1023
        poll.register(pipe, event)
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            self.close()
            raise GradingFailed(GradingErrorCode.UNRESPONSIVE, f"no score within {self._limit_s:g} s")
