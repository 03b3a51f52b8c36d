#!/bin/sh
# Makes the Entra app registration that API callers ask tokens for, with the app roles functions/http/auth.py knows,
# and remembers its client id as API_AUDIENCE. Changes nothing if the registration is as it should be. No secret is made.
set -eu
cd "$(dirname "$0")"
. ./subscription.sh

name="droptune-${AZURE_ENV_NAME:?run this through azd, or set AZURE_ENV_NAME}"
azure_cli=04b07795-8ddb-461a-bbee-02f9e1bf7b46 # public client id of `az`, the same in every tenant
graph=https://graph.microsoft.com/v1.0

# Entra answers 404 about an application that is seconds old.
again() {
    for pause in 2 4 8 16 32; do
        "$@" && return
        echo "Entra does not know it everywhere yet; trying again in $pause s"
        sleep "$pause"
    done
    "$@"
}

client_id=$(az ad app list --filter "displayName eq '$name'" --query "[0].appId" --output tsv)
if [ -z "$client_id" ]; then
    client_id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg \
        --app-roles @app-roles.json --query appId --output tsv)
    echo "created app registration $name ($client_id) with the roles reader, operator, approver, administrator"
else
    az ad app update --id "$client_id" --app-roles @app-roles.json
    echo "app registration $name ($client_id) is there; its roles are reader, operator, approver, administrator"
fi
again az ad app show --id "$client_id" --output none
object_id=$(az ad app show --id "$client_id" --query id --output tsv)

# Version 2 tokens: their audience is the client id and their issuer ends in /v2.0, which is what the app checks.
again az rest --method PATCH --url "$graph/applications/$object_id" --headers Content-Type=application/json --body '{
    "identifierUris": ["api://'"$client_id"'"],
    "optionalClaims": {"accessToken": [{"name": "preferred_username", "essential": false}]},
    "api": {
        "requestedAccessTokenVersion": 2,
        "oauth2PermissionScopes": [{
            "id": "6f1d5a0e-0a1c-4f57-9f0e-2f3f0d5b7c11", "value": "use", "type": "User", "isEnabled": true,
            "adminConsentDisplayName": "Use Droptune", "adminConsentDescription": "Call the API as the signed-in user",
            "userConsentDisplayName": "Use Droptune", "userConsentDescription": "Call the API as you"
        }]
    }
}'
again az rest --method PATCH --url "$graph/applications/$object_id" --headers Content-Type=application/json --body '{
    "api": {"preAuthorizedApplications": [{
        "appId": "'"$azure_cli"'", "delegatedPermissionIds": ["6f1d5a0e-0a1c-4f57-9f0e-2f3f0d5b7c11"]
    }]}
}'
echo "tokens: version 2, audience $client_id; the Azure CLI may ask for them"

if ! az ad sp show --id "$client_id" --output none 2>/dev/null; then
    again az ad sp create --id "$client_id" --output none
    echo "created its enterprise application"
fi
# Nobody without a role gets a token at all.
again az ad sp update --id "$client_id" --set appRoleAssignmentRequired=true

azd env set API_AUDIENCE "$client_id"
echo "API_AUDIENCE=$client_id"

# Whoever deploys is the first who has to look and to operate; who may approve is for people to decide.
application=$(az ad sp show --id "$client_id" --query id --output tsv)
me=$(az ad signed-in-user show --query id --output tsv 2>/dev/null) || me=
for role in reader operator; do
    [ -n "$me" ] || break # a pipeline deploys
    role_id=$(az ad app show --id "$client_id" --query "appRoles[?value=='$role'].id" --output tsv)
    held=$(az rest --method GET --url "$graph/servicePrincipals/$application/appRoleAssignedTo" \
        --query "value[?principalId=='$me' && appRoleId=='$role_id'].id" --output tsv)
    if [ -n "$held" ]; then
        echo "you are $role"
    elif az rest --method POST --url "$graph/servicePrincipals/$application/appRoleAssignedTo" --output none \
        --headers Content-Type=application/json \
        --body '{"principalId": "'"$me"'", "resourceId": "'"$application"'", "appRoleId": "'"$role_id"'"}'; then
        echo "made you $role"
    else
        echo "you may not make yourself $role; an administrator can, in the place named below"
    fi
done
echo "roles of others: Entra admin center > Enterprise applications > $name > Users and groups"
echo "then, for the command line: export DROPTUNE_AUDIENCE=api://$client_id"
