"""`transformers serve`, which reads messages as the server in Azure does: names and text beside calls are kept.

python chat_server.py serve MODEL OPTIONS
"""

from __future__ import annotations

from typing import Any

from transformers.cli.serving.utils import BaseHandler, Modality
from transformers.cli.transformers import main

_read = BaseHandler.get_processor_inputs_from_messages


def read_messages(messages: list[dict[str, Any]], modality: Modality) -> list[dict[str, Any]]:
    """What the chat template gets; vLLM keeps both as well (`_parse_chat_message_content` in its chat_utils.py), and
    has the fields of a call in the order of the types of the package `openai`."""
    messages = [_in_order(one) if one.get("tool_calls") else one for one in messages]
    # Of a message with calls transformers 5.23 reads no content.
    without_calls = [{key: value for key, value in one.items() if key != "tool_calls"} for one in messages]
    read = _read(messages, modality)
    for message, inputs, text in zip(messages, read, _read(without_calls, modality), strict=True):
        inputs |= {"content": text["content"]} | ({"name": message["name"]} if message.get("name") else {})
    return read


def _in_order(message: dict[str, Any]) -> dict[str, Any]:
    calls = ((call.get("id"), call["function"]) for call in message["tool_calls"])
    in_order = [{"id": id, "function": dict(sorted(function.items())), "type": "function"} for id, function in calls]
    return message | {"tool_calls": in_order}


BaseHandler.get_processor_inputs_from_messages = staticmethod(read_messages)  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
