"""What the demo promises and refuses, without running it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from local_stack import emulators
from local_stack.console import Console
from local_stack.demo.__main__ import main
from local_stack.demo.endpoint import Asked, ask
from local_stack.demo.prepare import DROP_ORDER, DemoFailed, drop, drops, fresh, recipe_folder
from local_stack.demo.report import demo_report, figures, shortfall
from shared.domain.evaluation import Gain
from shared.domain.run import Status
from shared.embedded.blobs import FileBlobStore
from tests.paths import ROOT
from tests.unit.cli.fake_api import BROKEN, RESULT, make_run

HELD_OUT = ROOT / "recipes" / "manufacturing" / "eval.jsonl"


def test_only_a_deployed_model_that_beats_its_base_beyond_doubt_counts() -> None:
    won = make_run(Status.DEPLOYING, Status.DEPLOYED, evaluation=RESULT)
    assert shortfall(won) is None
    doubtful = RESULT.model_copy(update={"gains": (Gain(over="base", mean=0.1, low=-0.01, high=0.2),)})
    assert "is not above 0" in str(shortfall(won.evolve(evaluation=doubtful)))
    assert "without a measured gain" in str(shortfall(make_run(Status.DEPLOYED)))
    assert "failed, not deployed" in str(shortfall(make_run(Status.TRAINING, Status.FAILED)))


def test_the_report_of_a_failed_run_says_so_and_is_json() -> None:
    run = make_run(Status.RECEIVED, Status.FAILED, error=BROKEN)
    report = json.loads(json.dumps(demo_report([run], None, {"total": 3.0}, {})))
    assert report["passed"] is False
    assert report["error"]["problem"]["code"] == "no_quota"
    assert report["seconds"] == {"total": 3.0, "stages": {"received": 2.0}}


def test_the_figures_name_no_address_no_folder_and_no_run() -> None:
    won = make_run(Status.DEPLOYING, Status.DEPLOYED, evaluation=RESULT)
    asked = Asked("http://127.0.0.1:7071/x", "azure_ml/secret", {}, "hex nut?", "yes", "yes")
    report = demo_report([won, won], asked, {"total": 3.0}, {"BLOB_STORE_URL": "file:/home/somebody"})
    kept = figures(report)
    assert kept["endpoint"] == {"question": "hex nut?", "answer": "yes", "wanted": "yes"}
    assert [run["statuses"] for run in kept["runs"]] == [["deploying", "deployed"]] * 2
    assert kept["runs"][0]["scores"]["tuned"]["mean"] == round(RESULT.candidate.mean, 4)
    assert not [word for word in ("127.0.0.1", "somebody", won.id) if word in json.dumps(kept)]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "thesis.txt"
    precious.touch()
    assert main(["--root", str(tmp_path)]) == 1
    assert "left alone" in capsys.readouterr().out
    assert precious.exists()


def test_without_npm_the_demo_on_emulators_says_so_in_one_line_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(emulators.FOLDER / name, packages)
    monkeypatch.setattr(emulators, "FOLDER", packages)
    monkeypatch.setattr(emulators, "_LOCK", packages / "package-lock.json")
    monkeypatch.setattr(emulators, "_INSTALLED", packages / "node_modules" / ".installed")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    assert main(["--emulators", "--root", str(tmp_path / "demo")]) == 1
    installing, reason = capsys.readouterr().out.splitlines()
    assert installing == "installing the emulators of Cosmos DB and Blob Storage from npm, once"
    assert reason.startswith("the demo cannot run on emulators: npm could not install the emulators: ")
    assert "127.0.0.1:9" in reason
    assert not (tmp_path / "demo").exists()


def test_the_folder_of_an_earlier_demo_is_wiped(tmp_path: Path) -> None:
    fresh(tmp_path / "demo", Console())
    (tmp_path / "demo" / "state.db").touch()
    fresh(tmp_path / "demo", Console())
    assert not (tmp_path / "demo" / "state.db").exists()


def test_an_unknown_recipe_is_refused_by_name() -> None:
    with pytest.raises(DemoFailed, match=r"ready recipes: .*manufacturing"):
        recipe_folder("no-such")


def test_a_drop_leaves_the_recipes_files_and_nothing_else(tmp_path: Path) -> None:
    drop(recipe_folder("manufacturing"), FileBlobStore(tmp_path), "plant", "here", Console())
    assert {path.name for path in (tmp_path / "datasets" / "plant").iterdir()} == set(DROP_ORDER)


def test_the_drops_of_a_recipe_replace_each_other_in_order(tmp_path: Path) -> None:
    parts = drops(recipe_folder("finance"))
    assert [part.name for part in parts] == ["finance", "2-preference", "3-reinforcement"]
    for part in parts:
        drop(part, FileBlobStore(tmp_path), "bank", "here", Console())
    for name in DROP_ORDER:
        assert (tmp_path / "datasets" / "bank" / name).read_bytes() == (parts[-1] / name).read_bytes()


def test_a_model_that_does_not_beat_the_one_in_production_falls_short() -> None:
    gains = (*RESULT.gains, Gain(over="champion", mean=0.1, low=-0.01, high=0.2))
    run = make_run(Status.DEPLOYING, Status.DEPLOYED, evaluation=RESULT.model_copy(update={"gains": gains}))
    assert "over champion" in str(shortfall(run))


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[str]]]:
    """A server that answers as a model does, and notes who asked and where."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(f"{self.path} {self.headers['Authorization']}")
            body = json.dumps({"choices": [{"message": {"content": "hex nut"}}]}).encode()
            self.send_response(200 if self.path.startswith("/endpoints/") else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "my secret"
    file.write_text("abc")
    return file


def test_the_endpoint_is_asked_with_the_request_that_is_shown(endpoint: tuple[str, list[str]], secret: Path) -> None:
    url, seen = endpoint
    asked = ask(f"{url}/endpoints/plant/", HELD_OUT, secret)
    assert asked.answer == "hex nut"
    subprocess.run(asked.curl(), shell=True, check=True)
    assert seen == ["/endpoints/plant/v1/chat/completions Bearer abc"] * 2
    assert asked.url in asked.curl()
    assert asked.question in asked.curl()


def test_an_endpoint_that_does_not_answer_fails_the_demo(endpoint: tuple[str, list[str]], secret: Path) -> None:
    with pytest.raises(DemoFailed, match="503"):
        ask(f"{endpoint[0]}/gone", HELD_OUT, secret)
