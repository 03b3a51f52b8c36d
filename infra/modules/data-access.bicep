// Who may do what in the data account, container by container.
param accountName string
param controlPrincipalId string
param jobPrincipalId string
param importerPrincipalId string
param servePrincipalId string
param eventsPrincipalId string
param deployerPrincipalId string

var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'

// The app takes datasets over HTTP, writes curated versions and reports, and keeps what it cannot read.
var controlWrites = ['datasets', 'curated', 'runs', 'quarantine']
// A validation job writes a curated version; training and evaluation write to their run.
var jobWrites = ['curated', 'runs']
var jobReads = ['datasets', 'models']
// The first dataset, and base models that come from no registry.
var deployerWrites = ['datasets', 'models']

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource controlWriteContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = [for container in controlWrites: {
  parent: blobs
  name: container
}]

resource jobWriteContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = [for container in jobWrites: {
  parent: blobs
  name: container
}]

resource jobReadContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = [for container in jobReads: {
  parent: blobs
  name: container
}]

resource deployerWriteContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = [for container in deployerWrites: {
  parent: blobs
  name: container
}]

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'models'
}

resource runs 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'runs'
}

resource deadletters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'deadletters'
}

resource controlWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, i) in controlWrites: {
  name: guid(account.id, container, controlPrincipalId, blobDataContributor)
  scope: controlWriteContainers[i]
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]

resource controlRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(models.id, controlPrincipalId, blobDataReader)
  scope: models
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}

resource jobWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, i) in jobWrites: {
  name: guid(account.id, container, jobPrincipalId, blobDataContributor)
  scope: jobWriteContainers[i]
  properties: {
    principalId: jobPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]

resource jobRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, i) in jobReads: {
  name: guid(account.id, container, jobPrincipalId, blobDataReader)
  scope: jobReadContainers[i]
  properties: {
    principalId: jobPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}]

resource importerWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(models.id, importerPrincipalId, blobDataContributor)
  scope: models
  properties: {
    principalId: importerPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

resource serveRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(runs.id, servePrincipalId, blobDataReader)
  scope: runs
  properties: {
    principalId: servePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}

resource eventsWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadletters.id, eventsPrincipalId, blobDataContributor)
  scope: deadletters
  properties: {
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// A person or a pipeline, whichever runs the deployment: no principalType, Entra knows it already.
resource deployerWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, i) in deployerWrites: {
  name: guid(account.id, container, deployerPrincipalId, blobDataContributor)
  scope: deployerWriteContainers[i]
  properties: {
    principalId: deployerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]
