#!/bin/sh
# Before `azd provision`: what the template asks for and only a person's rights can make. Safe to run again.
set -eu
cd "$(dirname "$0")"
. ./subscription.sh
location=${AZURE_LOCATION:?azd has no region yet: azd env set AZURE_LOCATION ...}

# postprovision.sh registers environments with it, after builds of images that take up to two hours.
if ! az extension show --name ml --output none 2>/dev/null; then
    echo "the Azure CLI has no extension ml: az extension add -n ml" >&2
    exit 1
fi

lower() { tr '[:upper:]' '[:lower:]'; }

# What the template names; Microsoft.App, on which Flex Consumption runs; and the last two, without which the creation of
# a managed online endpoint is reported to end with SubscriptionNotRegistered and no name.
providers="Microsoft.Consumption Microsoft.ContainerRegistry Microsoft.DocumentDB Microsoft.EventGrid Microsoft.Insights
    Microsoft.KeyVault Microsoft.MachineLearningServices Microsoft.ManagedIdentity Microsoft.Network
    Microsoft.OperationalInsights Microsoft.ServiceBus Microsoft.Storage Microsoft.Web Microsoft.App
    Microsoft.PolicyInsights Microsoft.Cdn"
registered=$(az provider list --subscription "$subscription" --query "[?registrationState=='Registered'].namespace" \
    --output tsv)
missing=
for provider in $providers; do
    echo "$registered" | lower | grep -qx "$(echo "$provider" | lower)" || missing="$missing $provider"
done
# All at once first: each takes a minute or two.
for provider in $missing; do az provider register --namespace "$provider" --subscription "$subscription"; done
for provider in $missing; do
    az provider register --namespace "$provider" --subscription "$subscription" --wait
    echo "resource provider $provider is registered"
done

# Each would fail in the middle of a deployment otherwise.
require() { # what is found, what it is
    [ -n "$1" ] || { echo "$2 is not in region $location: azd env set AZURE_LOCATION ..." >&2; exit 1; }
}
# What `az functionapp list-flexconsumption-locations` asks first; that looks in the CLI's own subscription next.
flex=$(az rest --method GET --query "value[].name" --output tsv \
    --url "/subscriptions/$subscription/providers/Microsoft.Web/geoRegions?sku=FlexConsumption&api-version=2024-04-01")
require "$(echo "$flex" | tr -d ' ' | lower | grep -x "$location")" "Flex Consumption"
python=$(sed -n "s/^ *version: '\(.*\)'$/\1/p" ../modules/app.bicep)
require "$(az functionapp list-flexconsumption-runtimes --location "$location" --runtime python \
    --subscription "$subscription" --query "[?version=='$python'].version" --output tsv)" "Python $python of Azure Functions"
sku=${STORAGE_SKU:-Standard_ZRS}
require "$(az storage sku list --subscription "$subscription" --output tsv \
    --query "[?name=='$sku' && kind=='StorageV2' && contains(locations, '$location') && !restrictions[0]].name")" \
    "storage $sku (STORAGE_SKU may be Standard_LRS)"
machine_learning=$(az provider show --namespace Microsoft.MachineLearningServices --subscription "$subscription" \
    --query "resourceTypes[?resourceType=='workspaces'].locations[]" --output tsv)
require "$(echo "$machine_learning" | tr -d ' ' | lower | grep -x "$location")" "Azure Machine Learning"
echo "region $location has what the template needs"

./register-app.sh

# A budget's start cannot be changed afterwards, so it is chosen once.
if [ -z "${BUDGET_START:-}" ]; then
    start=$(date -u +%Y-%m-01)
    azd env set BUDGET_START "$start"
    echo "budget starts $start"
fi

if [ -z "${ALERT_EMAIL:-}" ]; then
    email=$(az account show --subscription "$subscription" --query user.name --output tsv)
    case $email in
        *@*) azd env set ALERT_EMAIL "$email"; echo "alerts go to $email; change: azd env set ALERT_EMAIL ..." ;;
        *) echo "say where alerts go: azd env set ALERT_EMAIL someone@example.org" >&2; exit 1 ;;
    esac
fi
