// Quotas, machine sizes and the state of operations belong to the subscription, not to the workspace.
targetScope = 'subscription'

param token string
param controlPrincipalId string

resource quotaReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, token, 'droptune-quota-reader')
  properties: {
    roleName: 'Droptune quota reader (${token})'
    description: 'Reads quotas, machine sizes and the state of operations of Azure Machine Learning.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.MachineLearningServices/locations/usages/read'
          'Microsoft.MachineLearningServices/locations/vmSizes/read'
          'Microsoft.MachineLearningServices/locations/mfeOperationsStatus/read'
        ]
      }
    ]
  }
}

resource controlReadsQuota 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, controlPrincipalId, quotaReader.id)
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: quotaReader.id
  }
}
