"""The jobs' files on Azure ML's own mount runtime, azureml-dataprep-rslex: a FUSE mount, as a job's output is one.

Its source here is a folder (`file://`). With a container as its source, the runtime copies and deletes for a rename,
and writes a blob when its file is closed; that needs an account behind https and was not run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.operations import JOBS, OTHERS, Operation, outcome
from tests.paths import ROOT
from tests.unit.training_job.test_validate import Drop, lines
from tests.worker.installed import installed
from training_job import validate

RUNTIME = "azureml-dataprep-rslex==2.26.0"
LIST = ROOT / "docs" / "results" / "mount-operations.md"
TRAINING_JOB = ROOT / "tests" / "unit" / "training_job"
# The jobs themselves, killed and continued, with damaged checkpoints, replaced results and imported models.
TESTS = ("test_train.py", "test_evaluate.py", "test_import_base.py", "job/test_checkpoints.py")
# What those do to files on the mount, by the names of Python's audit events.
OF_THE_JOBS = {
    *("open read", "open write create append", "open write create truncate", "os.listdir", "os.scandir", "os.mkdir"),
    *("os.remove", "os.rmdir", "os.rename", "os.symlink"),  # a link elsewhere, to a file of the mount
}


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a mount needs /dev/fuse and root")
    folder = tmp_path_factory.mktemp("mount")
    program = [installed(Path(sys.executable), RUNTIME), ROOT / "tests" / "mount" / "mount.py", folder]
    holder = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mounted\n"
    assert os.path.ismount(folder / "mnt")
    yield folder / "mnt"
    holder.stdin.close()
    assert holder.wait(60) == 0
    holder.stdout.close()


@pytest.fixture
def on_mount(mount: Path) -> Path:
    place = mount / uuid.uuid4().hex
    place.mkdir()
    return place


@pytest.mark.slow
@pytest.mark.parametrize("operation", [*JOBS, *OTHERS], ids=lambda operation: operation.name)
def test_an_operation_does_on_the_mount_what_the_list_says(operation: Operation, on_mount: Path) -> None:
    assert outcome(operation, on_mount) == operation.mount


@pytest.mark.parametrize("operation", [*JOBS, *OTHERS], ids=lambda operation: operation.name)
def test_an_operation_does_in_a_laptop_s_folder_what_the_list_says(operation: Operation, tmp_path: Path) -> None:
    if operation.name == "set an extended attribute":
        pytest.skip("depends on the file system of this machine")
    assert outcome(operation, tmp_path) == operation.folder


def test_whatever_a_job_does_is_the_same_on_both() -> None:
    assert [operation.name for operation in JOBS if operation.mount != operation.folder] == []


def test_the_list_in_the_documents_is_the_one_that_was_run() -> None:
    rows = [f"| {one.name} | {'yes' if one in JOBS else 'no'} | {_shown(one)} |" for one in (*JOBS, *OTHERS)]
    assert [line for line in LIST.read_text().splitlines() if line.startswith("| ")][1:] == rows


def _shown(operation: Operation) -> str:
    if operation.mount == operation.folder:
        return f"error {operation.mount}" if isinstance(operation.mount, str) else "works"
    return f"error {operation.mount}" if str(operation.mount).startswith("E") else "other than in a folder"


@pytest.mark.slow
def test_the_jobs_train_continue_evaluate_and_import_on_the_mount_and_do_nothing_else_to_files(
    mount: Path, tmp_path: Path
) -> None:
    found = tmp_path / "operations.json"
    options = ["-q", "-x", "-p", "tests.mount.recorder", "-p", "no:cacheprovider", f"--basetemp={mount / 'jobs'}"]
    # A signal that arrives while a file is being opened leaves one that nobody closes; a mount takes long to open one.
    options += ["-m", "not slow", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(TRAINING_JOB / name) for name in TESTS)],
        cwd=ROOT,
        env={**os.environ, "MOUNT": str(mount), "OPERATIONS": str(found)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
    assert set(json.loads(found.read_text())) == OF_THE_JOBS


@pytest.mark.slow
def test_a_validation_writes_the_same_version_on_the_mount_as_in_a_folder(on_mount: Path, tmp_path: Path) -> None:
    drop = Drop(tmp_path / "here", lines(400))
    shutil.copytree(drop.folder, on_mount / "there")
    assert drop.validate() == 0
    arguments = [one.replace(str(drop.folder), str(on_mount / "there")) for one in drop.arguments()]
    assert validate.main(arguments) == 0
    there = on_mount / "there" / drop.curated.relative_to(drop.folder)
    written = {path.relative_to(drop.curated): path for path in drop.curated.rglob("*") if path.is_file()}
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == set(written)
    for name in ("train.jsonl", "eval.jsonl"):
        [path] = [path for path in written if path.name == name]
        assert (there / path).read_bytes() == written[path].read_bytes()
