"""The process in which graders, code of ours, score answers of others (see sandbox.py): these may be endless, or too
large. Protocol, one JSON document a line: in {"graders": [spec], "cpu_s": of one answer, "memory_bytes"}, then
{"grader": index, "sample", "item"} for each answer; out {"ready": true}, then {"score"} or {"error", "message",
"unreadable"}."""

import json
import os
import resource
import signal
import sys
from typing import Any

from pydantic import TypeAdapter

from shared.domain.graders import SimpleGrader
from shared.grading.compiled import Compiled, compile_grader
from shared.grading.errors import AnswerUnreadable, GradingErrorCode, GradingFailed
from shared.grading.formula import Formula
from shared.grading.templates import Sample

_SPECS: TypeAdapter[list[SimpleGrader]] = TypeAdapter(list[SimpleGrader])


def _answer(grader: Compiled, request: dict[str, Any]) -> dict[str, Any]:
    assert not isinstance(grader.score, Formula)
    try:
        return {"score": float(grader.score(Sample(request["sample"]["output_text"]), request["item"]))}
    except GradingFailed as error:
        return {"error": error.code, "message": error.message, "unreadable": isinstance(error, AnswerUnreadable)}
    except (RecursionError, MemoryError):
        message = "row or answer is nested too deeply, or too large"
        return {"error": GradingErrorCode.OTHER, "message": message, "unreadable": False}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(1, b'{"ready": true}\n')
    requests = sys.stdin.buffer
    task = json.loads(requests.readline())
    resource.setrlimit(resource.RLIMIT_AS, (task["memory_bytes"],) * 2)
    graders = list(map(compile_grader, _SPECS.validate_python(task["graders"])))
    for line in requests:
        signal.setitimer(signal.ITIMER_PROF, task["cpu_s"])  # of CPU time: its signal ends the process
        request = json.loads(line)
        os.write(1, json.dumps(_answer(graders[request["grader"]], request)).encode() + b"\n")
        signal.setitimer(signal.ITIMER_PROF, 0)
