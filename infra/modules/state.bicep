// Cosmos DB: one container; a run, its inbox and its outbox share a logical partition.
param name string
param location string
param tags object
param privateOnly bool
param logsId string
param controlPrincipalId string

var databaseName = 'droptune'

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' = {
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    capabilities: [{ name: 'EnableServerless' }]
    consistencyPolicy: { defaultConsistencyLevel: 'Strong' }
    locations: [
      {
        locationName: location
        failoverPriority: 0
      }
    ]
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: { tier: 'Continuous30Days' }
    }
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-04-15' = {
  parent: account
  name: databaseName
  properties: {
    resource: { id: databaseName }
  }
}

// Partition key, time to live and indexes as shared/clients/cosmos.py asks for them.
resource runs 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-04-15' = {
  parent: database
  name: 'runs'
  properties: {
    resource: {
      id: 'runs'
      partitionKey: {
        paths: ['/partition']
        kind: 'Hash'
        version: 2
      }
      defaultTtl: -1
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [
          { path: '/type/?' }
          { path: '/created_at/?' }
          { path: '/partition/?' }
          { path: '/document/finished/?' }
          { path: '/document/project/?' }
          { path: '/document/sent/?' }
          { path: '/document/settled/?' }
          { path: '/document/status/?' }
          { path: '/document/tag/?' }
        ]
        excludedPaths: [{ path: '/*' }, { path: '/"_etag"/?' }]
        compositeIndexes: [
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/finished'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/project'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/project'
              order: 'ascending'
            }
            {
              path: '/document/status'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/tag'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/sent'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/settled'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
          [
            {
              path: '/type'
              order: 'ascending'
            }
            {
              path: '/document/status'
              order: 'ascending'
            }
            {
              path: '/created_at'
              order: 'descending'
            }
            {
              path: '/id'
              order: 'ascending'
            }
            {
              path: '/partition'
              order: 'ascending'
            }
          ]
        ]
      }
    }
  }
}

// Cosmos DB Built-in Data Contributor: a role of Cosmos DB itself. It reads and writes items, and makes no containers.
resource controlWrites 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, controlPrincipalId, databaseName)
  properties: {
    principalId: controlPrincipalId
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002'
    scope: '${account.id}/dbs/${databaseName}'
  }
  dependsOn: [database]
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: account
  properties: {
    workspaceId: logsId
    logs: [
      {
        category: 'ControlPlaneRequests'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output url string = 'https://${name}.documents.azure.com/${databaseName}'
