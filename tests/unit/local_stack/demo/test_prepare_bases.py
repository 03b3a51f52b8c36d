"""The base of a demo: a folder, a model of one's own, and one that is fetched from a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local_stack.demo.prepare import TINY, DemoBase, DemoFailed, demo_base
from local_stack.tiny_base.shipped import WEIGHTS
from shared.domain.catalog import find_entry

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


def test_the_shipped_weights_are_the_tiny_base() -> None:
    assert demo_base(str(WEIGHTS)) == DemoBase(TINY, WEIGHTS)


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
        "tie_word_embeddings": True,
    }
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config | changes))
    return place


def test_a_folder_is_the_model_of_the_catalog_whose_dimensions_it_has_or_one_of_ones_own(tmp_path: Path) -> None:
    known, own = folder(tmp_path / "smol"), folder(tmp_path / "my-own", num_hidden_layers=2)
    assert (demo_base(str(known)).id, demo_base(str(known)).tiny) == (SMALL.id, WEIGHTS)
    assert demo_base(str(own)) == DemoBase("local/my-own", own)


def test_what_is_neither_a_folder_nor_a_small_model_of_the_catalog_is_refused_by_name(tmp_path: Path) -> None:
    for given in ("no/such", "meta-llama/Llama-3.1-8B-Instruct"):
        with pytest.raises(DemoFailed, match=f"BASE={given} is no folder and none .* tunes: {SMALL.id}$"):
            demo_base(given)
    with pytest.raises(DemoFailed, match="is no folder of a base model"):
        demo_base(str(tmp_path))


def test_a_model_of_the_hub_is_fetched_at_its_pinned_commit_without_code(hub: type[Hub]) -> None:
    base = demo_base(SMALL.id)
    assert base.id == SMALL.id
    assert {file.name: file.read_bytes() for file in base.folder.iterdir()} == {
        name: FILES[name] for name in ("config.json", "model.safetensors")
    }
    assert [path for path in hub.requests if SMALL.id in path and str(SMALL.revision) not in path] == []


def test_a_hub_that_does_not_have_it_is_said_so(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "commits", ())
    with pytest.raises(DemoFailed, match=f"{SMALL.id} could not be fetched; give its folder as BASE instead: "):
        demo_base(SMALL.id)
