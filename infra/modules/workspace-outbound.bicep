// The way from Azure ML's managed network to the data account, which has no public one.
param workspaceName string
param workspacePrincipalId string
param dataStorageName string

var networkConnectionApprover = 'b556d68e-0be0-4f35-a333-ad7ee1ce17ea'

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = {
  name: workspaceName
}

resource data 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: dataStorageName
}

resource workspaceApproves 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(data.id, workspacePrincipalId, networkConnectionApprover)
  scope: data
  properties: {
    principalId: workspacePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', networkConnectionApprover)
  }
}

resource toData 'Microsoft.MachineLearningServices/workspaces/outboundRules@2025-06-01' = {
  parent: workspace
  name: 'data-blob'
  properties: {
    type: 'PrivateEndpoint'
    category: 'UserDefined'
    destination: {
      serviceResourceId: data.id
      subresourceTarget: 'blob'
      sparkEnabled: false
    }
  }
  dependsOn: [workspaceApproves]
}
