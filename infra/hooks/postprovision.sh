#!/bin/sh
# After `azd provision`: the images of jobs and endpoints in the registry, and the environments that name them in the
# workspace. A changed image is a new version, so what is there is left as it is. Safe to run again.
set -eu
cd "$(dirname "$0")"
. ./subscription.sh
cd ../..

host=${AZURE_CONTAINER_REGISTRY_ENDPOINT:?run this through azd}
registry=${host%%.*}

provide_image() { # NAME:VERSION, folder it is built from, Dockerfile
    if [ "${DROPTUNE_SHAPE:-dev}" = prod ]; then
        # Its registry has no public address, and so none for a build in Azure either.
        echo "image $1: from inside the virtual network, unless it is there already, after az acr login --name $registry:"
        echo "    docker build --file $3 --tag $host/$1 $2 && docker push $host/$1"
    elif az acr repository show --name "$registry" --image "$1" --subscription "$subscription" --output none 2>/dev/null; then
        echo "image $1 is there"
    else
        echo "building image $1, which takes a while"
        az acr build --registry "$registry" --image "$1" --file "$3" --timeout 7200 --subscription "$subscription" "$2" || {
            code=$?
            echo "a subscription without ACR Tasks builds it with Docker: docs/how-to/deploy-to-azure.md" >&2
            exit $code
        }
    fi
}

provide() { # YAML file of an environment, folder its image is built from, Dockerfile
    name=$(sed -n 's/^name: //p' "$1")
    version=$(sed -n 's/^version: "\(.*\)"$/\1/p' "$1")
    provide_image "$name:$version" "$2" "$3"

    group=${AZURE_RESOURCE_GROUP:?}
    workspace=${DROPTUNE_WORKSPACE:?}
    if az ml environment show --name "$name" --version "$version" --resource-group "$group" \
        --workspace-name "$workspace" --subscription "$subscription" --output none 2>/dev/null; then
        echo "environment $name:$version is registered"
    else
        az ml environment create --file "$1" --image "$host/$name:$version" --resource-group "$group" \
            --workspace-name "$workspace" --subscription "$subscription" --output none
        echo "registered environment $name:$version"
    fi
}

provide infra/environments/training.yml . training_job/Dockerfile
provide infra/environments/serving.yml infra/environments/serving infra/environments/serving/Dockerfile
