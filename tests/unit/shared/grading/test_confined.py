"""What a confined process can reach."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.grading import confined
from shared.grading.confined import MODULES
from shared.grading.engine import Grade
from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.sandbox import Sandbox
from tests.paths import ROOT
from tests.unit.shared.grading.support import python

LIBC = "import ctypes, os; libc = ctypes.CDLL(None); "
# All that is ever told of a grader that failed.
REPORTED = (
    r"([A-Z][A-Za-z]*|an error of its own)( on line [0-9][0-9]?)?|grade returned (no number|a number beyond 0 to 1)"
    r"|the grader's process ended \(memory, CPU time or a crash\)"
    r"|the grader wrote into its own reply|no score within 5 s"
)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/hostname')",
        "open('/proc/self/environ')",
        "import io; io.open_code('/etc/hostname')",
        "import os; os.listdir('/')",
        "import os; os.stat('/etc')",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getpid(), 0)",
        "import os; os.pipe()",
    ],
)
def test_the_kernel_refuses_what_a_grader_has_no_need_of(body: str, grade: Any) -> None:
    graded: Grade = grade(python(f"def grade(sample, item):\n    {body}\n    return 1"), "x")
    assert [error.message for error in graded.errors] == ["PermissionError on line 2"]


def test_a_grader_reaches_no_network_even_by_system_call(grade: Any) -> None:
    """The socket module cannot be loaded any more, so the call itself is made."""
    body = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return 0.5 if libc.socket(2, 1, 0) == -1 and ctypes.get_errno() == 1 else 1
"""
    assert grade(python(f"def grade(sample, item):{body}"), "x").score == 0.5
    with socket.socket():  # which this process may
        pass


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("module", MODULES)
def test_every_documented_module_can_be_imported(module: str, score: Any) -> None:
    assert module in (ROOT / "docs" / "reference" / "graders.md").read_text(encoding="utf-8")
    use = {
        "datetime": "datetime.datetime.now()",
        "decimal": "decimal.Decimal('0.1') + 1",
        "difflib": "difflib.SequenceMatcher(None, 'ab', 'ac').ratio()",
        "random": "random.Random(1).random()",
        "re": "re.compile('(a+)b').search('aab')",
        "statistics": "statistics.median([1, 2])",
        "textwrap": "textwrap.fill('a b', 1)",
        "unicodedata": "unicodedata.normalize('NFKD', 'x')",
    }.get(module, module)
    assert score(python(f"def grade(sample, item):\n    import {module}\n    {use}\n    return 1"), "x") == 1


def test_a_grader_finds_no_environment(grade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_TEST_SECRET", "x")
    source = "import os\ndef grade(sample, item):\n    return float(not any('SECRET' in name for name in os.environ))"
    assert grade(python(source), "x").score == 1


def test_where_nothing_can_be_confined_nothing_is_run(tmp_path: Path) -> None:
    """A machine of another kind: the worker knows no call numbers for it, and ends before it reads any source."""
    other = tmp_path / "confined.py"
    source = Path(confined.__file__).read_text(encoding="utf-8").replace("platform.machine()", "'riscv64'")
    other.write_text(source, encoding="utf-8")
    with (
        closing(Sandbox("def grade(sample, item):\n    return 1", worker=other)) as sandbox,
        pytest.raises(GradingFailed, match="this machine cannot confine a python grader") as failed,
    ):
        sandbox.grade({"output_text": "x"}, {})
    assert failed.value.code is GradingErrorCode.PYTHON_SERVER


# Each returns 1 if it gets what it tries; the row holds a secret, which no error text may hold.
ATTEMPTS = {
    "file": "open('/etc/passwd').read()",
    "file by os": "import os; os.open('/etc/passwd', 0)",
    "file of the kernel": "open('/proc/self/maps')",
    "file of the parent": "import os; open(f'/proc/{os.getppid()}/environ')",
    "memory file": "open('/proc/self/mem', 'r+b')",
    "new file": "open('/tmp/x', 'w')",
    "new folder": "import os; os.mkdir('/tmp/x')",
    "removed file": "import os; os.unlink('/tmp/x')",
    "renamed file": "import os; os.rename('/tmp/x', '/tmp/y')",
    "link": "import os; os.symlink('/etc/passwd', '/tmp/x')",
    "rights": "import os; os.chmod('/tmp', 0o777)",
    "owner": "import os; os.chown('/tmp', 0, 0)",
    "folder": "import os; os.listdir('/')",
    "glob": "import os; next(os.scandir('/'))",
    "working folder": "import os; os.getcwd()",
    "other folder": "import os; os.chdir('/')",
    "other root": "import os; os.chroot('/tmp')",
    "fork": "import os; os.fork()",
    "fork of a terminal": "import os; os.forkpty()",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "program": "import os; os.execv('/bin/sh', ['sh'])",
    "shell": "import os; 1 / (os.system('true') == 0)",
    "subprocess": "import subprocess; subprocess.run(['true'])",
    "socket": "import socket; socket.socket()",
    "requests": "import urllib.request; urllib.request.urlopen('http://127.0.0.1')",
    "thread": "import threading; threading.Thread(target=print).start()",
    "low thread": "import _thread; _thread.start_new_thread(print, ()); return 0",
    "processes": "import multiprocessing; multiprocessing.Process(target=print).start()",
    "kill": "import os; os.kill(os.getppid(), 9)",
    "kill the group": "import os; os.killpg(0, 9)",
    "trace": LIBC + "1 / (libc.ptrace(16, os.getppid(), 0, 0) == 0)",
    "memory of the parent": LIBC + "1 / (libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0) >= 0)",
    "memfd": LIBC + "1 / (libc.memfd_create(b'x', 0) >= 0)",
    "shared memory": LIBC + "1 / (libc.shmget(0, 4096, 0o1777) >= 0)",
    "io_uring": LIBC + "1 / (libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0)",
    "bpf": LIBC + "1 / (libc.syscall(321, 0, 0, 0) >= 0)",
    "user namespace": LIBC + "1 / (libc.unshare(0x10000000) == 0)",
    "mount": LIBC + "1 / (libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0)",
    "open at": LIBC + "1 / (libc.openat(-100, b'/etc/passwd', 0) >= 0)",
    "open by handle": LIBC + "1 / (libc.syscall(304, 0, 0, 0) >= 0)",
    "openat2": LIBC + "1 / (libc.syscall(437, -100, b'/etc/passwd', ctypes.create_string_buffer(24), 24) >= 0)",
    "socket pair": LIBC + "1 / (libc.socketpair(1, 1, 0, ctypes.create_string_buffer(8)) == 0)",
    "clone": LIBC + "1 / (libc.syscall(56, 17, 0, 0, 0, 0) >= 0)",
    "clone3": LIBC + "1 / (libc.syscall(435, ctypes.create_string_buffer(88), 88) >= 0)",
    "x32 call": LIBC + "1 / (libc.syscall(0x40000000 + 2, b'/etc/passwd', 0) >= 0)",
    "pidfd": LIBC + "1 / (libc.syscall(434, os.getppid(), 0) >= 0)",
    "prctl": LIBC + "1 / (libc.prctl(4, 1, 0, 0, 0) == 0)",
    "another filter": LIBC + "1 / (libc.prctl(22, 0, 0, 0, 0) == 0)",
    "higher limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "limits by call": LIBC + "1 / (libc.setrlimit(9, (ctypes.c_ulong * 2)(2**40, 2**40)) == 0)",
    "user": "import os; os.setuid(1)",
    "environment": "import os; os.environ['PATH']",
    "duplicate": "import os; os.dup2(1, 9)",
    "pipe": "import os; os.pipe()",
    "descriptors": "import os; 1 / sum(ok(os.fstat, n) for n in range(4, 256))",
    "kept descriptor": "import os; os.read(7, 1)",
    "main module": "import sys; sys.modules['__main__'].subprocess",
    "ours": "import shared.grading.compiled",
    "packages": "import jsonschema",
    "extension": "import sqlite3",
    "introspection": "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'][0](['true'])",
    "all memory": "x = 'x' * 2**40",
    "memory by parts": "x = [bytes(2**24) for _ in range(1000)]",
    "deep": "f = lambda: f(); f()",
    "text of the row": "raise ValueError(item['note'])",
    "class named by the row": "raise type(item['note'], (Exception,), {})()",
    "error that says the row": "raise type('E', (Exception,), {'__str__': lambda self: item['note']})()",
    "result named by the row": "return type(item['note'], (), {})()",
    "own reply": "reply(b'{\"error\": \"' + item['note'].encode() + b'\"}\\n')",
    "own line": 'reply(b\'{"error": "KeyError", "line": 4111111111}\\n\')',
    "deep reply": "reply(b'[' * 4000 + b'\\n')",
    "endless reply": "reply(b'x' * 9000)",
    "score of the row": "return float(int.from_bytes(item['note'].encode(), 'big'))",
    "no number": "return float('nan')",
    "exit": "raise SystemExit(item['note'])",
    "group of errors": "raise ExceptionGroup(item['note'], [ValueError(item['note'])])",
}


def test_there_are_65_attempts() -> None:
    assert len(ATTEMPTS) >= 65


@pytest.mark.few_cases(6)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_attempt_gets_out_or_tells_of_the_row(name: str, grade: Any) -> None:
    helper = "import os\ndef reply(text):\n    return [ok(os.write, n, text) for n in range(3, 20)]\n"
    helper += (
        "def ok(call, *given):\n    try:\n        call(*given)\n    except OSError:\n        return 0\n    return 1\n"
    )
    source = f"{helper}def grade(sample, item):\n    {ATTEMPTS[name]}\n    return 1"
    graded: Grade = grade(python(source), "x", note="canary_9")
    [error] = graded.errors
    assert graded.score is None
    assert re.fullmatch(REPORTED, error.message), error.message
    assert "canary" not in error.message
    assert not error.message.startswith(("NameError", "SyntaxError"))  # an attempt that makes none
