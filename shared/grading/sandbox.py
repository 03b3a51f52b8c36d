"""Processes that score answers, with limits: one for each python grader, foreign code that the kernel confines
(confined.py, docs/reference/graders.md), one for all others, code of ours with limits of memory and CPU time
(isolated.py)."""

import builtins
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from weakref import finalize

from shared.domain.errors import Transient
from shared.domain.graders import SimpleGrader
from shared.grading.errors import AnswerUnreadable, GradingErrorCode, GradingFailed
from shared.grading.templates import Item, Sample

LIMIT_S = 5.0
MEMORY_BYTES = 512 * 2**20
# A process is replaced before its CPU limit could end it in the middle of honest work.
ANSWERS_PER_PROCESS = 500
_START_S = 20.0
# A machine may stall: code of ours is ended after LIMIT_S of CPU time, and by the clock after this.
_ISOLATED_S = 60.0
_ISOLATED = "import sys; sys.path[:0] = sys.argv[1:]; from shared.grading.isolated import main; main()"
_WORKER = Path(__file__).with_name("confined.py")
_MAX_REPLY_BYTES = 4096
_ERRORS = {name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)}


class Sandbox:
    """One grader's process: started when first needed, replaced after a timeout or a crash."""

    _answers = ANSWERS_PER_PROCESS
    _code = GradingErrorCode.PYTHON_SERVER

    def __init__(self, source: str, *, limit_s: float = LIMIT_S, worker: Path = _WORKER) -> None:
        self._source, self._limit_s, self._task = source, limit_s, dict[str, Any](source=source)
        self._command = [str(worker), str(MEMORY_BYTES), str(int(ANSWERS_PER_PROCESS * limit_s))]
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0

    def grade(self, sample: dict[str, Any], item: Item, **more: int) -> float:
        """Raises GradingFailed: the grader's own error, its silence, or a machine that cannot confine it."""
        if self._process is None or self._answered >= self._answers:
            self.close()
            self._process = self._start()
        self._answered += 1
        end = time.monotonic() + self._limit_s
        self._send(self._process, {"sample": sample, "item": item, **more}, end)
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

    @property
    def running(self) -> bool:
        return self._process is not None

    def close(self) -> None:
        if self._process is not None:
            self._end()
        self._process, self._answered = None, 0

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={},
        )
        self._process, self._end = process, finalize(self, _end, process)
        try:
            self._receive(process, time.monotonic() + _START_S)
        except GradingFailed as error:
            raise self._not_started() from error
        self._send(process, self._task, time.monotonic() + self._limit_s)
        return process

    def _not_started(self) -> Exception:
        return self._broken("this machine cannot confine a python grader")

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
        return GradingFailed(self._code, what)

    def _wait(self, pipe: IO[bytes], event: int, end: float) -> None:
        """Until the pipe can be read or written. Raises GradingFailed once `end` is over."""
        poll = select.poll()  # select.select knows no descriptor above 1023
        poll.register(pipe, event)
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            self.close()
            raise GradingFailed(GradingErrorCode.UNRESPONSIVE, f"no score within {self._limit_s:g} s")


class IsolatedGraders(Sandbox):
    """One process for all graders that are code of ours. What ends it costs one answer of one grader."""

    _answers = 20 * ANSWERS_PER_PROCESS
    _code = GradingErrorCode.OTHER

    def __init__(self) -> None:
        super().__init__("", limit_s=_ISOLATED_S)
        self._task = {"graders": [], "cpu_s": LIMIT_S, "memory_bytes": MEMORY_BYTES}
        self._command = ["-c", _ISOLATED, *sys.path]

    def add(self, spec: SimpleGrader, fields: frozenset[str]) -> Callable[[Sample, Item], float]:
        """The score by a grader that reads these fields; the process is told of it when it starts."""
        number, read = len(self._task["graders"]), fields | {path.partition(".")[0] for path in fields}
        self._task["graders"].append(spec.model_dump(mode="json"))

        def score(sample: Sample, item: Item) -> float:
            needed = {name: item[name] for name in read if name in item}
            return self.grade({"output_text": sample.output_text}, needed, grader=number)

        return score

    def _failed(self, reply: dict[str, Any]) -> GradingFailed:
        if reply["unreadable"]:
            return AnswerUnreadable(reply["message"])
        return GradingFailed(GradingErrorCode(reply["error"]), reply["message"])

    def _not_started(self) -> Exception:
        self.close()
        return Transient("graders_not_started", "the process of the graders did not start in time")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
