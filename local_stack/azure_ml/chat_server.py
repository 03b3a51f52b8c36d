"""`transformers serve`, which reads messages as the server in Azure does: names and text beside calls are kept.

python chat_server.py serve MODEL OPTIONS
"""

from typing import Any

from transformers.cli.serving.utils import BaseHandler, Modality
from transformers.cli.transformers import main

_read = BaseHandler.get_processor_inputs_from_messages


def read_messages(messages: list[dict[str, Any]], modality: Modality) -> list[dict[str, Any]]:
    """What the chat template gets; vLLM keeps both as well (`_parse_chat_message_content` in its chat_utils.py)."""
    # Of a message with calls transformers 5.23 reads no content.
    without_calls = [{key: value for key, value in one.items() if key != "tool_calls"} for one in messages]
    read = _read(messages, modality)
    for message, inputs, text in zip(messages, read, _read(without_calls, modality), strict=True):
        inputs |= {"content": text["content"]} | ({"name": message["name"]} if message.get("name") else {})
    return read


BaseHandler.get_processor_inputs_from_messages = staticmethod(read_messages)  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
