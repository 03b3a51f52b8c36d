"""What is read of an app, and what is refused."""

from __future__ import annotations

from pathlib import Path

import azure.functions as func
import pytest

from local_stack.functions_host.host import Host
from local_stack.functions_host.loading import StartRefused, load_app
from tests.unit.local_stack.functions_host.support import eventually, host_json, message


def refused(app: func.FunctionApp, bus, config: Path, **environment: str) -> list[str]:
    with pytest.raises(StartRefused) as refusal:
        Host(app, bus, host_json=config, environment=environment, state_folder=config.parent)
    return refusal.value.problems


def missing(key: str, setting: str) -> str:
    return f"serviceBusTrigger.{key}: Value error, the setting {setting} is not in the environment"


def unknown(kind: str) -> str:
    known = "'serviceBusTrigger', 'timerTrigger', 'httpTrigger', 'http'"
    return f": Input tag '{kind}' found using 'type' does not match any of the expected tags: {known}"


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

    @app.generic_input_binding(arg_name="second", type="timerTrigger", schedule="0 0 0 * * *")
    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    def two_triggers(timer: func.TimerRequest) -> None: ...

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="C")
    async def coroutine(msg: func.ServiceBusMessage) -> None: ...

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 * * *")
    def wants_more(timer: func.TimerRequest, context: func.Context) -> None: ...

    @app.route(route="hello")
    def routed(req: func.HttpRequest) -> None: ...

    config = host_json(tmp_path, autoCompleteMessages=False, maxAutoLockRenewalDuration="soon", maxConcurrentCalls=0)
    of_config, *problems = refused(app, bus, config, TOPIC="pipeline")
    for setting in ("autoCompleteMessages", "maxAutoLockRenewalDuration", "maxConcurrentCalls"):
        assert f"serviceBus.{setting}\n" in of_config
    plain = "is called in a thread, with the trigger's value alone: no `async def`, no `context`"
    assert [problem.split(": ", 1) for problem in problems] == [
        ["function missing_setting", missing("queueName", "QUEUE")],
        ["function missing_settings", missing("subscriptionName", "SUBSCRIPTION")],
        ["function batches", "serviceBusTrigger.isSessionsEnabled: Input should be False"],
        ["function batches", "serviceBusTrigger.cardinality: Input should be <Cardinality.ONE: 'one'>"],
        [
            "function five_fields",
            "timerTrigger.schedule: Value error, '* * * * *' is not NCRONTAB with six fields",
        ],
        ["function other_bindings", unknown("queue")],
        ["function other_bindings", unknown("blobTrigger")],
        ["function two_triggers", "has 2 triggers instead of one"],
        ["function coroutine", plain],
        ["function wants_more", plain],
        ["function routed", "httpTrigger.route: String should match pattern '^/\\{\\*'"],
        ["function routed", "httpTrigger.methods: Field required"],
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


def test_a_disabled_function_is_not_called_and_its_messages_wait(start_host, bus):
    seen: list[str] = []
    app = func.FunctionApp()

    @app.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="C")
    def paused(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    @app.service_bus_topic_trigger(arg_name="msg", topic_name="pipeline", subscription_name="first", connection="C")
    def runs(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    start_host(app, **{"AzureWebJobs.paused.Disabled": "true", "AzureWebJobs.runs.Disabled": "false"})
    bus.send("work", [message("waits")])
    bus.send("pipeline", [message("comes")])
    eventually(lambda: bus.depth("pipeline/first") == 0)
    assert seen == ["comes"]
    assert bus.depth("work") == 1
