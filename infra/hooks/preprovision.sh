#!/bin/sh
# Before `azd provision`: what the template asks for and only a person's rights can make. Safe to run again.
set -eu
cd "$(dirname "$0")"

./register-app.sh

# Flex Consumption runs on it, and no resource in the template would have it registered.
az provider register --namespace Microsoft.App --wait
echo "resource provider Microsoft.App is registered"

# A budget's start cannot be changed afterwards, so it is chosen once.
if [ -z "${BUDGET_START:-}" ]; then
    start=$(date -u +%Y-%m-01)
    azd env set BUDGET_START "$start"
    echo "budget starts $start"
fi

if [ -z "${ALERT_EMAIL:-}" ]; then
    email=$(az account show --query user.name --output tsv)
    case $email in
        *@*) azd env set ALERT_EMAIL "$email"; echo "alerts go to $email; change: azd env set ALERT_EMAIL ..." ;;
        *) echo "say where alerts go: azd env set ALERT_EMAIL someone@example.org" >&2; exit 1 ;;
    esac
fi
