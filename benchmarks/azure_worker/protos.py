"""The messages between Functions host and language worker, as far as the worker's library touches them.

Named as in FunctionRpc.proto of Azure/azure-functions-language-worker-protobuf. Like protobuf's own classes they
refuse an unknown field and a value of the wrong type. Runs in the worker's environment: standard library only.
"""

from typing import Any, ClassVar

_ENUM = (int, type(None))


class ProtoMessage:
    """Fields by name with the types they take; what is not given stays unset (None)."""

    fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.fields.keys()
        if unknown:
            raise ValueError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        for name, kind in self.fields.items():
            value = values.get(name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{type(self).__name__}.{name} takes {kind}, not {type(value).__name__}")
            setattr(self, name, value)


class TypedData(ProtoMessage):
    fields = {"string": str, "json": str, "bytes": bytes, "http": ProtoMessage, "int": int, "double": float}

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if len(values) > 1:
            raise ValueError("TypedData holds one kind of data")

    def WhichOneof(self, _group: str) -> str | None:
        return next((name for name in self.fields if getattr(self, name) is not None), None)


class ParameterBinding(ProtoMessage):
    fields = {"name": str, "data": TypedData}

    def WhichOneof(self, _group: str) -> str | None:
        return "data" if self.data is not None else None  # type: ignore[attr-defined]


class RpcHttp(ProtoMessage):
    fields = {
        "method": str,
        "url": str,
        "headers": dict,
        "params": dict,
        "query": dict,
        "body": TypedData,
        "status_code": str,
        "cookies": list,
        "enable_content_negotiation": bool,
    }


class BindingInfo(ProtoMessage):
    fields = {"type": str, "data_type": _ENUM, "direction": _ENUM}
    # Direction
    out, inout = 1, 2
    # DataType
    undefined = 0


class RpcException(ProtoMessage):
    fields = {"source": str, "stack_trace": str, "message": str}


class StatusResult(ProtoMessage):
    fields = {"status": int, "exception": RpcException}
    Failure, Success = 0, 1


class WorkerMetadata(ProtoMessage):
    fields = {
        "runtime_name": str,
        "runtime_version": str,
        "worker_version": str,
        "worker_bitness": str,
        "custom_properties": dict,
    }


class WorkerInitResponse(ProtoMessage):
    fields = {"capabilities": dict, "worker_metadata": WorkerMetadata, "result": StatusResult}


class RpcFunctionMetadata(ProtoMessage):
    fields = {
        "name": str,
        "function_id": str,
        "managed_dependency_enabled": bool,
        "directory": str,
        "script_file": str,
        "entry_point": str,
        "is_proxy": bool,
        "language": str,
        "bindings": dict,
        "raw_bindings": list,
        "retry_options": ProtoMessage,
        "properties": dict,
    }


class FunctionMetadataResponse(ProtoMessage):
    fields = {"use_default_metadata_indexing": bool, "function_metadata_results": list, "result": StatusResult}


class FunctionLoadResponse(ProtoMessage):
    fields = {"function_id": str, "result": StatusResult}


class InvocationResponse(ProtoMessage):
    fields = {"invocation_id": str, "return_value": TypedData, "result": StatusResult, "output_data": list}
