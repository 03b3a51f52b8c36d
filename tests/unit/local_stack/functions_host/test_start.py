"""What is refused at start, and the command itself as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import azure.functions as func
import httpx
import pytest

from local_stack.functions_host import Host, StartRefused, load_app
from shared.embedded.blobs import FileBlobStore
from tests.paths import ROOT
from tests.unit.local_stack.functions_host.support import host_json


def refused(app: func.FunctionApp, bus, config: Path, **environment: str) -> list[str]:
    with pytest.raises(StartRefused) as refusal:
        Host(app, bus, host_json=config, environment=environment, state_folder=config.parent)
    return refusal.value.problems


def test_one_report_has_everything_wrong(bus, tmp_path):
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="C")
    def missing_setting(msg: func.ServiceBusMessage) -> None: ...

    @app.service_bus_topic_trigger(
        arg_name="msg", topic_name="%TOPIC%", subscription_name="%SUBSCRIPTION%", connection="C"
    )
    def missing_settings(msg: func.ServiceBusMessage) -> None: ...

    @app.service_bus_queue_trigger(
        arg_name="msg", queue_name="work", connection="C", cardinality="many", is_sessions_enabled=True
    )
    def batches(msg: func.ServiceBusMessage) -> None: ...

    @app.timer_trigger(arg_name="timer", schedule="* * * * *")
    def five_fields(timer: func.TimerRequest) -> None: ...

    @app.generic_trigger(arg_name="blob", type="blobTrigger", path="datasets/x")
    @app.queue_output(arg_name="out", queue_name="q", connection="C")
    def other_bindings(blob: object) -> None: ...

    @app.generic_input_binding(arg_name="second", type="timerTrigger")
    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    def two_triggers(timer: func.TimerRequest) -> None: ...

    @app.route(route="hello")
    def routed(req: func.HttpRequest) -> None: ...

    config = host_json(tmp_path, autoCompleteMessages=False, maxAutoLockRenewalDuration="soon")
    problems = refused(app, bus, config, TOPIC="pipeline")
    assert [problem.split(": ", 1) for problem in problems] == [
        ["host.json", "autoCompleteMessages must stay true, Python has no other way to settle"],
        ["host.json", "maxAutoLockRenewalDuration must be hh:mm:ss"],
        ["function missing_setting", "the setting QUEUE (used by queueName) is not in the environment"],
        [
            "function missing_settings",
            "the setting SUBSCRIPTION (used by subscriptionName) is not in the environment",
        ],
        ["function batches", "sessions are not supported"],
        ["function batches", "batches (cardinality many) are not supported"],
        ["function five_fields", "schedule '* * * * *' is not NCRONTAB with six fields"],
        ["function other_bindings", "binding out of unknown type queue"],
        ["function other_bindings", "trigger of unknown type blobTrigger"],
        ["function two_triggers", "has 2 triggers instead of one: timerTrigger, timerTrigger"],
        ["function routed", "route 'hello' is not the catch-all of an AsgiFunctionApp"],
    ]


def test_no_host_json_and_no_trigger(bus, tmp_path):
    app = func.FunctionApp()

    @app.queue_output(arg_name="out", queue_name="q", connection="C")
    def idle() -> None: ...

    no_file, no_trigger = refused(app, bus, tmp_path / "host.json")
    assert no_file.startswith("host.json cannot be read")
    assert "idle does not have a trigger" in no_trigger


def test_an_app_that_cannot_be_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "app_with_two_triggers.py").write_text(
        "import azure.functions as func\n"
        "app = func.FunctionApp()\n"
        "@app.timer_trigger(arg_name='t', schedule='* * * * * *')\n"
        "@app.timer_trigger(arg_name='t', schedule='* * * * * *')\n"
        "def twice(t): ...\n"
    )
    (tmp_path / "app_without_app.py").write_text("")
    with pytest.raises(StartRefused, match=r"cannot be imported.*A trigger was already registered"):
        load_app("app_with_two_triggers")
    with pytest.raises(StartRefused, match="no attribute `app`"):
        load_app("app_without_app")
    with pytest.raises(StartRefused, match="cannot be imported"):
        load_app("app_that_is_not_there")


def test_a_port_that_is_taken(bus, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = Host(
            func.FunctionApp(),
            bus,
            host_json=host_json(tmp_path),
            environment={},
            state_folder=tmp_path,
            port=port,
        )
        with pytest.raises(StartRefused, match=f"port {port} cannot be opened"):
            host.start()


def test_an_app_whose_start_up_fails(start_host):
    async def failing(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartRefused, match="start-up failed"):
        start_host(func.AsgiFunctionApp(app=failing, http_auth_level=func.AuthLevel.ANONYMOUS))


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
    assert "function tick: schedule 'hourly' is not NCRONTAB with six fields" in err
    assert "Traceback" not in err
