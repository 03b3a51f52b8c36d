#!/bin/sh
# Before azd packs the app: the packages of requirements.txt for the Python and the system that Azure runs it on, wherever
# this runs. Azure's remote build, which azure.yaml turns off, has had another Python (Azure/azure-dev#8538).
set -eu
cd "$(dirname "$0")/../.."
python=$(sed -n "s/^ *version: '\(.*\)'$/\1/p" infra/modules/app.bicep)
if ! uv=$(command -v uv || command -v .venv/bin/uv); then
    echo "uv is missing, which installs packages of another system than this one: make setup" >&2
    exit 1
fi

rm -rf .python_packages
"$uv" pip install --quiet --target .python_packages/lib/site-packages --python-version "$python" \
    --python-platform x86_64-manylinux_2_28 --only-binary :all: --require-hashes --requirements requirements.txt
# Else each cold start compiles what it imports. With the hash of its source instead of the time, which a copy changes.
if "$uv" run --quiet --no-project --python "$python" python -W ignore -m compileall -q -j 0 \
    --invalidation-mode unchecked-hash .python_packages; then
    echo "packages of the app for Python $python: $(du -sm .python_packages | cut -f 1) MB, with byte code"
else
    echo "packages of the app are not compiled: cold starts take some seconds more" >&2
fi
