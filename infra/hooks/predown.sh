#!/bin/sh
# Before `azd down`: the custom roles and what was assigned by them. Three are defined in the resource group, and are found
# only while it is there. `azd down` asks after this: who says no runs `azd provision`, which makes the roles again.
set -eu
cd "$(dirname "$0")"
. ./subscription.sh
workspace=${DROPTUNE_WORKSPACE:-}
[ -n "$workspace" ] || { echo "nothing is provisioned, so there are no roles"; exit 0; }

everywhere=/subscriptions/$subscription
group=$everywhere/resourceGroups/${AZURE_RESOURCE_GROUP:?}

remove() { # role, where it is assigned, where it is defined
    found=$(az role definition list --name "$1" --scope "$3" --custom-role-only --subscription "$subscription" \
        --query "[].name" --output tsv)
    [ -n "$found" ] || { echo "there is no role $1"; return; }
    # A role that is assigned cannot be deleted.
    az role assignment delete --role "$1" --scope "$2" --subscription "$subscription"
    az role definition delete --name "$1" --scope "$3" --custom-role-only --subscription "$subscription"
    echo "removed role $1"
}

place=$group/providers/Microsoft.MachineLearningServices/workspaces/$workspace
remove "Droptune orchestrator ($workspace)" "$place" "$group"
remove "Droptune judge caller ($workspace)" "$place" "$group"
remove "Droptune autoscaler ($workspace)" "$group" "$group"
remove "Droptune quota reader (${workspace#mlw-})" "$everywhere" "$everywhere"
echo "the app has no rights in Azure ML any more; without azd down, azd provision gives them back"
