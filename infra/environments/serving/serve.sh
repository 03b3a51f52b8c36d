#!/bin/sh
# vLLM takes its model and name from the command line, a deployment has only environment variables.
set -eu

# Azure ML mounts the registered folder at AZUREML_MODEL_DIR, itself or as the one folder in it.
config=$(find -L "$AZUREML_MODEL_DIR" -maxdepth 2 -name config.json | head -n 1)
if [ -z "$config" ]; then
    echo "no model in $AZUREML_MODEL_DIR: no config.json there or one folder below" >&2
    exit 1
fi

if [ -n "${TOOL_CALL_PARSER:-}" ]; then
    set -- --enable-auto-tool-choice --tool-call-parser "$TOOL_CALL_PARSER"
fi

exec vllm serve "$(dirname "$config")" \
    --host 0.0.0.0 --port 8000 \
    --served-model-name "$SERVED_MODEL_NAME" \
    --max-model-len "$MAX_MODEL_LEN" \
    --tensor-parallel-size "${TENSOR_PARALLEL_SIZE:-1}" \
    "$@"
