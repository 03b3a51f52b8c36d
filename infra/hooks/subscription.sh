#!/bin/sh
# Sourced by the hooks. azd and the Azure CLI each remember a subscription of their own: every command of a hook names
# azd's. What asks Microsoft Graph (`az ad`, `az rest`) cannot: it uses the tenant of the CLI's own subscription
# (azure-cli, command_modules/role/_msgrpah/_graph_client.py), so that tenant is compared.
subscription=${AZURE_SUBSCRIPTION_ID:-}
if [ -z "$subscription" ]; then
    echo "azd has no subscription yet: azd env set AZURE_SUBSCRIPTION_ID ..." >&2
    exit 1
fi
if ! tenant=$(az account show --subscription "$subscription" --query tenantId --output tsv); then
    echo "azd deploys to subscription $subscription, which the Azure CLI does not see: az login" >&2
    exit 1
fi
signed_in=$(az account show --query tenantId --output tsv)
if [ "$signed_in" != "$tenant" ]; then
    echo "the Azure CLI is in tenant $signed_in, azd's subscription in $tenant: an app registration in another tenant" >&2
    echo "gives tokens that the app refuses. az account set --subscription $subscription" >&2
    exit 1
fi
