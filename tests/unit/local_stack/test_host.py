"""The function app on this machine, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shared.embedded.blobs import FileBlobStore
from tests.paths import ROOT
from tests.unit.local_stack.functions_host.support import host_json

APP = """
import json, time
import azure.functions as func

async def page(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

app = func.AsgiFunctionApp(app=page, http_auth_level=func.AuthLevel.ANONYMOUS)

@app.service_bus_queue_trigger(arg_name="msg", queue_name="storage-events", connection="C")
def take(msg: func.ServiceBusMessage) -> None:
    print("taken", json.loads(msg.get_body())["subject"], flush=True)
    time.sleep(0.7)
    print("finished", flush=True)

@app.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%")
def tick(timer: func.TimerRequest) -> None: ...
"""


@contextmanager
def host_process(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "small_app.py").write_text(APP)
    host_json(folder)
    command = [sys.executable, "-m", "local_stack.host", "--port", "0", "--app", "small_app", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_the_command_from_drop_to_clean_stop(tmp_path):
    blobs = FileBlobStore(tmp_path / ".droptune" / "blobs")
    with host_process(tmp_path, "--watch") as process:
        assert process.stdout
        assert process.stderr
        word, port = process.stdout.readline().split()
        assert word == "ready"
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60, verify=False).text == "served"
        blobs.write("datasets/clinic/train.jsonl", [b"{}\n"])
        taken = process.stdout.readline()
        assert taken == "taken /blobServices/default/containers/datasets/blobs/clinic/train.jsonl\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "finished\n"
        log = process.stderr.read()
        assert process.wait(60) == 0
    assert "function=take" in log
    assert "outcome=completed" in log
    assert "Traceback" not in log


def test_the_command_refuses_with_a_report(tmp_path):
    with host_process(tmp_path, RECONCILE_SCHEDULE="hourly") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "function tick: timerTrigger.schedule: Value error, 'hourly' is not NCRONTAB with six fields" in err
    assert "Traceback" not in err
