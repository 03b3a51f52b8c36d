"""The confined process of a python grader: `python -I -S confined.py MEMORY_BYTES CPU_S`. It imports nothing of ours.
Before it reads foreign code, the kernel is told (seccomp) to refuse every call beyond computing and its two pipes:
docs/reference/graders.md. Where that cannot be set up it does not start. Protocol, one JSON document a line: in
{"source"}, then {"sample", "item"} for each answer; out {"ready": true}, then {"score": number} or {"error": kind,
"line": number}. The grader may write what it likes instead."""

import ctypes
import importlib
import io
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

# What a grader may import: loaded now, since nothing can be opened later.
MODULES = [
    "collections", "datetime", "decimal", "difflib", "fractions", "functools", "itertools", "json", "math", "random",
    "re", "statistics", "string", "textwrap", "typing", "unicodedata",
]  # fmt: skip

# Calls that compute, wait or end; read and write reach the two pipes only, since nothing else is open.
# Numbers on x86-64 and ARM64 (Linux: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sched_yield": (24, 124), "mremap": (25, 216),
    "madvise": (28, 233), "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "gettimeofday": (96, 169),
    "sigaltstack": (131, 132), "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "getrandom": (318, 278),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000


def _confine(memory_bytes: int, cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    architecture, column = _ARCHITECTURES[platform.machine()]
    calls = [number for numbers in _CALLS.values() if (number := numbers[column]) is not None]
    # struct sock_filter: code, jump if true, jump if false, operand. In seccomp_data: 4 architecture, 0 call.
    program = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += [(_JUMP_IF_EQUAL, len(calls) - n, 0, call) for n, call in enumerate(calls)]
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def _answer(grade: Any, line: bytes) -> dict[str, Any]:
    request = json.loads(line)
    try:
        score = grade(request["sample"], request["item"])
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            return {"error": "no number"}
        return {"score": float(score)}
    except BaseException as error:
        return _where(error)


def _where(error: BaseException) -> dict[str, Any]:
    """The kind of error and the line of the grader; never its message, which may quote the row."""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<grader>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return {"error": type(error).__name__, "line": line}


def main() -> None:
    for module in MODULES:
        importlib.import_module(module)
    replies = os.dup(1)
    sys.stdout = sys.stderr = io.StringIO()
    _confine(int(sys.argv[1]), int(sys.argv[2]))
    os.write(replies, b'{"ready": true}\n')
    requests = sys.stdin.buffer
    names: dict[str, Any] = {"__name__": "grader"}
    broken = None
    try:
        exec(compile(json.loads(requests.readline())["source"], "<grader>", "exec"), names)  # noqa: S102
    except BaseException as error:
        broken = _where(error)
    for line in requests:
        os.write(replies, json.dumps(broken or _answer(names["grade"], line)).encode() + b"\n")


if __name__ == "__main__":
    main()
