#!/bin/sh
# After `azd down`: the app registration, which is in no resource group.
set -eu
cd "$(dirname "$0")"
. ./subscription.sh
client_id=${API_AUDIENCE:-}
[ -n "$client_id" ] || { echo "there is no app registration"; exit 0; }
if az ad app show --id "$client_id" --output none 2>/dev/null; then
    az ad app delete --id "$client_id"
    echo "removed app registration $client_id"
fi
azd env set API_AUDIENCE ""
