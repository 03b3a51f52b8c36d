// Droptune in one resource group. Subscription scope, so that `azd up` makes the group and `azd down` leaves nothing.
targetScope = 'subscription'

@description('Names the resource group and everything in it; azd: AZURE_ENV_NAME.')
@minLength(2)
@maxLength(40)
param environmentName string

@description('Region; azd: AZURE_LOCATION.')
param location string

@description('Who deploys: may drop datasets, place base models and push images; azd: AZURE_PRINCIPAL_ID.')
param principalId string

@description('dev: small, reachable from the internet with Entra tokens only. prod: private endpoints only.')
@allowed(['dev', 'prod'])
param shape string

@description('Client id of the app registration that infra/hooks/register-app.sh makes.')
param apiAudience string

@description('Where alerts and budget notices go.')
param alertEmail string

@description('Of the whole resource group, a month, in the currency of the bill.')
param budgetAmount string

@description('First day of a month, 2026-12-01; a budget cannot change it later.')
param budgetStart string

@description('What one project may spend on jobs a month, USD by the catalog.')
param projectMonthlyUsd string = '500'

@description('Hours without a request after which an endpoint gives its machine back, unless a recipe says sooner; 0: never.')
param endpointIdleHours string = '0'

@description('Days in which a run that deployed nothing is kept after its end; 0: for ever.')
param runRetentionDays string = '0'

@description('Size of a GPU cluster for people to try things on, at no nodes; empty: none. Needs quota of its family.')
param gpuVmSize string = ''

@description('Base model of projects without a recipe.')
param defaultBaseModel string = 'microsoft/Phi-4'

@description('Of the three storage accounts. Standard_LRS for a region without zones; copies then lie in one building.')
@allowed(['Standard_ZRS', 'Standard_LRS'])
param storageSku string = 'Standard_ZRS'

@description('Comma-separated hosts that subscriptions may reach though not public https.')
param notifyPrivateHosts string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var privateOnly = shape == 'prod'
var packageContainer = 'app-package'
var vaultName = 'kv-${token}'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    controlPrincipalId: identities.outputs.controlPrincipalId
  }
}

module quotaAccess 'modules/quota-access.bicep' = {
  name: 'quota-access'
  params: {
    token: token
    controlPrincipalId: identities.outputs.controlPrincipalId
  }
}

module network 'modules/network.bicep' = if (privateOnly) {
  name: 'network'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
  }
}

module dataStorage 'modules/storage.bicep' = {
  name: 'data-storage'
  scope: group
  params: {
    name: 'stdata${token}'
    sku: storageSku
    location: location
    tags: tags
    containers: ['datasets', 'curated', 'runs', 'models', 'quarantine', 'deadletters']
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
  }
}

module dataAccess 'modules/data-access.bicep' = {
  name: 'data-access'
  scope: group
  params: {
    accountName: dataStorage.outputs.name
    controlPrincipalId: identities.outputs.controlPrincipalId
    jobPrincipalId: identities.outputs.jobPrincipalId
    importerPrincipalId: identities.outputs.importerPrincipalId
    servePrincipalId: identities.outputs.servePrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
    deployerPrincipalId: principalId
  }
}

// The host's account is apart: who can write there can run code as the app.
module hostStorage 'modules/storage.bicep' = {
  name: 'host-storage'
  scope: group
  params: {
    name: 'sthost${token}'
    sku: storageSku
    location: location
    tags: tags
    containers: [packageContainer]
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
  }
}

module hostAccess 'modules/host-access.bicep' = {
  name: 'host-access'
  scope: group
  params: {
    accountName: hostStorage.outputs.name
    controlPrincipalId: identities.outputs.controlPrincipalId
  }
}

// Azure ML's own files: logs of jobs, snapshots. Its workspace may write there and so not where datasets lie.
module scratchStorage 'modules/storage.bicep' = {
  name: 'scratch-storage'
  scope: group
  params: {
    name: 'stml${token}'
    sku: storageSku
    location: location
    tags: tags
    containers: []
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: vaultName
    location: location
    tags: tags
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  scope: group
  params: {
    name: 'cr${token}'
    location: location
    tags: tags
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
    jobPrincipalId: identities.outputs.jobPrincipalId
    importerPrincipalId: identities.outputs.importerPrincipalId
    servePrincipalId: identities.outputs.servePrincipalId
    deployerPrincipalId: principalId
  }
}

module messaging 'modules/messaging.bicep' = {
  name: 'messaging'
  scope: group
  params: {
    name: 'sb-${token}'
    location: location
    tags: tags
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
    controlPrincipalId: identities.outputs.controlPrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
  }
}

module messagingFirewall 'modules/messaging-firewall.bicep' = if (privateOnly) {
  name: 'messaging-firewall'
  scope: group
  params: {
    namespaceName: messaging.outputs.name
  }
}

module state 'modules/state.bicep' = {
  name: 'state'
  scope: group
  params: {
    name: 'cosmos-${token}'
    location: location
    tags: tags
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
    controlPrincipalId: identities.outputs.controlPrincipalId
  }
}

module workspace 'modules/workspace.bicep' = {
  name: 'workspace'
  scope: group
  params: {
    name: 'mlw-${token}'
    location: location
    tags: tags
    privateOnly: privateOnly
    logsId: monitoring.outputs.logsId
    insightsId: monitoring.outputs.insightsId
    vaultId: vault.outputs.id
    registryId: registry.outputs.id
    scratchStorageId: scratchStorage.outputs.id
    scratchStorageName: scratchStorage.outputs.name
    dataStorageName: dataStorage.outputs.name
    jobId: identities.outputs.jobId
    jobPrincipalId: identities.outputs.jobPrincipalId
    importerId: identities.outputs.importerId
    importerPrincipalId: identities.outputs.importerPrincipalId
    controlPrincipalId: identities.outputs.controlPrincipalId
    servePrincipalId: identities.outputs.servePrincipalId
    deployerPrincipalId: principalId
    gpuVmSize: gpuVmSize
  }
}

module workspaceOutbound 'modules/workspace-outbound.bicep' = if (privateOnly) {
  name: 'workspace-outbound'
  scope: group
  params: {
    workspaceName: workspace.outputs.name
    workspacePrincipalId: workspace.outputs.systemPrincipalId
    dataStorageName: dataStorage.outputs.name
  }
}

module events 'modules/events.bicep' = {
  name: 'events'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    dataStorageId: dataStorage.outputs.id
    workspaceId: workspace.outputs.id
    namespaceId: messaging.outputs.id
    eventsId: identities.outputs.eventsId
  }
  // A subscription is refused until its identity may deliver and leave dead letters.
  dependsOn: [dataAccess]
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    privateOnly: privateOnly
    subnetId: privateOnly ? network.outputs.appSubnetId : ''
    logsId: monitoring.outputs.logsId
    insightsName: monitoring.outputs.insightsName
    hostStorageName: hostStorage.outputs.name
    hostBlobUrl: hostStorage.outputs.blobUrl
    packageContainer: packageContainer
    controlId: identities.outputs.controlId
    controlClientId: identities.outputs.controlClientId
    jobClientId: identities.outputs.jobClientId
    importerClientId: identities.outputs.importerClientId
    serveId: identities.outputs.serveId
    serviceBusHost: messaging.outputs.host
    cosmosUrl: state.outputs.url
    dataBlobUrl: dataStorage.outputs.blobUrl
    workspaceUrl: workspace.outputs.url
    apiAudience: apiAudience
    defaultBaseModel: defaultBaseModel
    projectMonthlyUsd: projectMonthlyUsd
    endpointIdleHours: endpointIdleHours
    runRetentionDays: runRetentionDays
    notifyPrivateHosts: notifyPrivateHosts
  }
  dependsOn: [
    hostAccess
  ]
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (privateOnly) {
  name: 'private-endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    subnetId: privateOnly ? network.outputs.endpointSubnetId : ''
    endpoints: [
      {
        name: 'data-blob'
        serviceId: dataStorage.outputs.id
        group: 'blob'
        zones: ['privatelink.blob.${environment().suffixes.storage}']
      }
      {
        name: 'host-blob'
        serviceId: hostStorage.outputs.id
        group: 'blob'
        zones: ['privatelink.blob.${environment().suffixes.storage}']
      }
      {
        name: 'host-queue'
        serviceId: hostStorage.outputs.id
        group: 'queue'
        zones: ['privatelink.queue.${environment().suffixes.storage}']
      }
      {
        name: 'host-table'
        serviceId: hostStorage.outputs.id
        group: 'table'
        zones: ['privatelink.table.${environment().suffixes.storage}']
      }
      {
        name: 'scratch-blob'
        serviceId: scratchStorage.outputs.id
        group: 'blob'
        zones: ['privatelink.blob.${environment().suffixes.storage}']
      }
      {
        name: 'scratch-file'
        serviceId: scratchStorage.outputs.id
        group: 'file'
        zones: ['privatelink.file.${environment().suffixes.storage}']
      }
      {
        name: 'cosmos'
        serviceId: state.outputs.id
        group: 'Sql'
        zones: ['privatelink.documents.azure.com']
      }
      {
        name: 'service-bus'
        serviceId: messaging.outputs.id
        group: 'namespace'
        zones: ['privatelink.servicebus.windows.net']
      }
      {
        name: 'vault'
        serviceId: vault.outputs.id
        group: 'vault'
        zones: ['privatelink.vaultcore.azure.net']
      }
      {
        name: 'registry'
        serviceId: registry.outputs.id
        group: 'registry'
        zones: ['privatelink.azurecr.io']
      }
      {
        name: 'workspace'
        serviceId: workspace.outputs.id
        group: 'amlworkspace'
        zones: [
          'privatelink.api.azureml.ms'
          'privatelink.notebooks.azure.net'
        ]
      }
      {
        name: 'app'
        serviceId: app.outputs.id
        group: 'sites'
        zones: ['privatelink.azurewebsites.net']
      }
    ]
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    email: alertEmail
    namespaceId: messaging.outputs.id
    eventTopicIds: [
      events.outputs.storageTopicId
      events.outputs.jobTopicId
    ]
    logsId: monitoring.outputs.logsId
    budgetAmount: budgetAmount
    budgetStart: budgetStart
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = registry.outputs.loginServer
output DROPTUNE_URL string = 'https://${app.outputs.host}'
output DROPTUNE_WORKSPACE string = workspace.outputs.name
output DROPTUNE_DATA_ACCOUNT string = dataStorage.outputs.name
output DROPTUNE_LOGS_ACCOUNT string = scratchStorage.outputs.name
output DROPTUNE_JOB_CLIENT_ID string = identities.outputs.jobClientId
