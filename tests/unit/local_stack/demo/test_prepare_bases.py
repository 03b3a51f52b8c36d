"""The base of a demo: a folder, a model of one's own, and one that is fetched from a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cli.common import InputError
from local_stack.demo.__main__ import main
from local_stack.demo.prepare import TINY, DemoBase, DemoFailed, demo_base
from local_stack.tiny_base.shipped import WEIGHTS
from shared.domain.catalog import find_entry
from tests.paths import ROOT

SMALL = find_entry("HuggingFaceTB/SmolLM2-135M-Instruct")
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"#", "training.py": b"import os"}


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub for one repository at one commit."""

    requests: list[str] = []
    commits = (SMALL.revision,)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.requests.append(self.path)
        *_, commit, name = self.path.split("/")
        if self.path.startswith(f"/api/models/{SMALL.id}/tree/{SMALL.revision}?"):
            files = [{"type": "file", "path": one, "size": len(FILES[one]), "oid": "0" * 40} for one in FILES]
            self._answer(json.dumps(files).encode())
        elif self.path.startswith(f"/{SMALL.id}/resolve/") and commit in self.commits and name in FILES:
            self._answer(FILES[name])
        else:
            self.send_error(404)

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", str(SMALL.revision))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    constants = pytest.importorskip("huggingface_hub.constants")
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    Hub.requests.clear()
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_shipped_weights_are_the_tiny_base_and_so_is_another_build_of_it(tmp_path: Path) -> None:
    assert demo_base(str(WEIGHTS)) == demo_base(TINY) == DemoBase(TINY, WEIGHTS)
    build = shutil.copytree(WEIGHTS, tmp_path / "build")
    assert demo_base(str(build)) == DemoBase(TINY, build)


def folder(place: Path, **changes: object) -> Path:
    dims = SMALL.dims
    config = {
        "model_type": "llama",
        "hidden_size": dims.hidden,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "num_key_value_heads": dims.kv_heads,
        "intermediate_size": dims.intermediate,
        "vocab_size": dims.vocab,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config | changes))
    save_file({"weights": np.zeros(8)}, place / "model.safetensors")
    return place


def test_a_folder_with_the_dimensions_of_a_model_of_the_catalog_is_one_of_ones_own(tmp_path: Path) -> None:
    tiny = shutil.copytree(WEIGHTS, tmp_path / "tiny")
    (tiny / "manifest.json").unlink()
    places = {"local/my-fin-tune": folder(tmp_path / "my finé&tune"), "local/tiny": tiny}
    places["local/snapshot"] = folder(tmp_path / "snapshots" / "snapshot")
    for id, place in places.items():
        base = demo_base(str(place))
        assert (base.id, base.folder, base.tiny) == (id, place, WEIGHTS)
        assert base.own is not None
        assert base.own["terms"]["id"] == "LicenseRef-unreviewed"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"[]", "config.json is no object"),
        (b"null", "config.json is no object"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode byte 0xff"),
        (b'{"rope_scaling": [1]}', "a value is of another type"),
        (b'{"hidden_size": "8", "num_attention_heads": 2}', "a value is of another type"),
        (b'{"model_type": ["llama"]}', "cannot be a base model:\n  base_models"),
        (b'{"model_type": "mistral3", "text_config": {"hidden_size": 8}}', "cannot be a base model:\n  base_models"),
        (None, "config.json"),
    ],
)
def test_a_folder_that_holds_no_base_model_is_refused_before_anything_starts(
    config: bytes | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder(tmp_path / "own")
    (place / "config.json").unlink()
    if config is not None:
        (place / "config.json").write_bytes(config)
    assert main(["--base", str(place), "--root", str(tmp_path / "demo")]) == 1
    assert why in capsys.readouterr().out.partition("the demo failed: ")[2]
    assert not (tmp_path / "demo").exists()


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path / "own")
    (place / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"local/own cannot be a base model:\n.*parameters"):
        demo_base(str(place))


def test_what_is_neither_a_folder_nor_a_small_model_of_the_catalog_is_refused_by_name() -> None:
    for given in ("no/such", "meta-llama/Llama-3.1-8B-Instruct"):
        with pytest.raises(DemoFailed, match=f"BASE={given} is no folder and none .* tunes: {TINY}, {SMALL.id}$"):
            demo_base(given)


def test_make_takes_a_folder_with_a_blank_as_one() -> None:
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.stamp", "demo", "BASE=my model", "RECIPE=my recipe"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shlex.split(lines[-1])[-4:] == ["--recipe", "my recipe", "--base", "my model"]


def test_a_model_of_the_hub_is_fetched_at_its_pinned_commit_without_code(hub: type[Hub]) -> None:
    base = demo_base(SMALL.id)
    assert base.id == SMALL.id
    assert {file.name: file.read_bytes() for file in base.folder.iterdir()} == {
        name: FILES[name] for name in ("config.json", "model.safetensors")
    }
    assert demo_base(str(base.folder)) == base, "the folder in the cache is that model"
    assert [path for path in hub.requests if SMALL.id in path and str(SMALL.revision) not in path] == []


def test_a_hub_that_does_not_have_it_is_said_so(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "commits", ())
    with pytest.raises(DemoFailed, match=f"{SMALL.id} could not be fetched; give its folder as BASE instead: "):
        demo_base(SMALL.id)


def test_without_a_network_there_is_one_message_and_no_line_for_each_retry(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported, waits = list[str](), list[float]()
    library = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(library, "level", logging.WARNING)  # is put back, with what the demo sets
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: reported.append(record.getMessage()))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    monkeypatch.setattr(hub, "do_GET", lambda request: request.send_error(503))
    library.addHandler(handler)
    try:
        with pytest.raises(DemoFailed, match=f"{SMALL.id} could not be fetched; give its folder as BASE instead: "):
            demo_base(SMALL.id)
    finally:
        library.removeHandler(handler)
    assert waits, "it retries"
    assert reported == []
