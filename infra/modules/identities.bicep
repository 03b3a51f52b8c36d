// One identity per role. What each may do is said where the thing it may touch is made.
param token string
param location string
param tags object

resource control 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-control-${token}'
  location: location
  tags: tags
}

resource job 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-job-${token}'
  location: location
  tags: tags
}

// Imports of base models: what they write decides how every project's data is read, so no other job may write it.
resource importer 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-importer-${token}'
  location: location
  tags: tags
}

resource serve 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-serve-${token}'
  location: location
  tags: tags
}

resource events 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-events-${token}'
  location: location
  tags: tags
}

// The app hands these to jobs and endpoints, and for that it must be allowed to.
var managedIdentityOperator = 'f1a07417-d97a-45cb-824c-7a7467783830'

resource controlHandsOutJob 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(job.id, control.id, managedIdentityOperator)
  scope: job
  properties: {
    principalId: control.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', managedIdentityOperator)
  }
}

resource controlHandsOutImporter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(importer.id, control.id, managedIdentityOperator)
  scope: importer
  properties: {
    principalId: control.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', managedIdentityOperator)
  }
}

resource controlHandsOutServe 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(serve.id, control.id, managedIdentityOperator)
  scope: serve
  properties: {
    principalId: control.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', managedIdentityOperator)
  }
}

output controlId string = control.id
output controlClientId string = control.properties.clientId
output controlPrincipalId string = control.properties.principalId
output jobId string = job.id
output jobClientId string = job.properties.clientId
output jobPrincipalId string = job.properties.principalId
output importerId string = importer.id
output importerClientId string = importer.properties.clientId
output importerPrincipalId string = importer.properties.principalId
output serveId string = serve.id
output servePrincipalId string = serve.properties.principalId
output eventsId string = events.id
output eventsPrincipalId string = events.properties.principalId
