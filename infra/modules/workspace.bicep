// Azure ML: workspace, datastores, and clusters that cost nothing while nothing runs on them.
param name string
param location string
param tags object
param privateOnly bool
param logsId string
param insightsId string
param vaultId string
param registryId string
param scratchStorageId string
param scratchStorageName string
param dataStorageName string
param jobId string
param jobPrincipalId string
param importerId string
param importerPrincipalId string
param controlPrincipalId string
param servePrincipalId string
param deployerPrincipalId string
param gpuVmSize string

var containers = ['datasets', 'curated', 'runs', 'models']
// Jobs run on serverless compute. The CPU cluster builds images where the registry is private; the other is for people.
var cpuCluster = {
  name: 'cpu'
  vmSize: 'Standard_E4ds_v4'
}
var gpuCluster = {
  name: 'gpu'
  vmSize: gpuVmSize
}
var clusters = empty(gpuVmSize) ? [cpuCluster] : [cpuCluster, gpuCluster]

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  // Serverless jobs may only use an identity that the workspace has too.
  identity: {
    type: 'SystemAssigned,UserAssigned'
    userAssignedIdentities: {
      '${jobId}': {}
      '${importerId}': {}
    }
  }
  properties: {
    applicationInsights: insightsId
    containerRegistry: registryId
    keyVault: vaultId
    storageAccount: scratchStorageId
    systemDatastoresAuthMode: 'Identity'
    hbiWorkspace: true
    imageBuildCompute: 'cpu'
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
    managedNetwork: {
      // One way: a workspace that once was approved-only stays so.
      isolationMode: privateOnly ? 'AllowOnlyApprovedOutbound' : 'AllowInternetOutbound'
    }
  }
}

resource computes 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = [for cluster in clusters: {
  parent: workspace
  name: cluster.name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${jobId}': {}
    }
  }
  properties: {
    computeType: 'AmlCompute'
    disableLocalAuth: true
    properties: {
      osType: 'Linux'
      vmSize: cluster.vmSize
      vmPriority: 'Dedicated'
      enableNodePublicIp: false
      remoteLoginPortPublicAccess: 'Disabled'
      scaleSettings: {
        minNodeCount: 0
        maxNodeCount: 1
        nodeIdleTimeBeforeScaleDown: 'PT2M'
      }
    }
  }
}]

// A job's URI and a blob's path name the same place: see shared/domain/paths.py.
resource datastores 'Microsoft.MachineLearningServices/workspaces/datastores@2025-06-01' = [for container in containers: {
  parent: workspace
  name: container
  properties: {
    datastoreType: 'AzureBlob'
    accountName: dataStorageName
    containerName: container
    endpoint: environment().suffixes.storage
    protocol: 'https'
    serviceDataAccessAuthIdentity: 'None'
    credentials: { credentialsType: 'None' }
  }
}]

// AzureML Data Scientist may list the keys of endpoints. This role covers what shared/clients/azure_ml/client.py
// does, no keys, no compute. The five lines about environments and metadata are what Microsoft
// lists for a job of version 2 beside `*/read` and `jobs/*` (Azure ML docs, "Manage access to Azure Machine Learning
// workspaces", common scenarios). None of them ends in /read. Which of them the service checks for an image-only
// environment without code is not documented. The workspace holds no registry password that readSecrets could reveal.
resource orchestrator 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'droptune-orchestrator')
  properties: {
    roleName: 'Droptune orchestrator (${name})'
    description: 'Submits and cancels jobs, registers models, deploys them, shifts traffic and deletes endpoints.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.MachineLearningServices/workspaces/read'
          'Microsoft.MachineLearningServices/workspaces/*/read'
          'Microsoft.MachineLearningServices/workspaces/experiments/*'
          'Microsoft.MachineLearningServices/workspaces/jobs/*'
          'Microsoft.MachineLearningServices/workspaces/environments/write'
          'Microsoft.MachineLearningServices/workspaces/environments/build/action'
          'Microsoft.MachineLearningServices/workspaces/environments/readSecrets/action'
          'Microsoft.MachineLearningServices/workspaces/metadata/artifacts/write'
          'Microsoft.MachineLearningServices/workspaces/metadata/codes/*/write'
          'Microsoft.MachineLearningServices/workspaces/models/write'
          'Microsoft.MachineLearningServices/workspaces/models/versions/write'
          'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write'
          'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/delete'
          'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action'
          'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write'
          'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/delete'
          // How many requests a deployment had: see had_requests in shared/clients/azure_ml/client.py.
          'Microsoft.Insights/metrics/read'
        ]
      }
    ]
  }
}

resource controlOrchestrates 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, controlPrincipalId, orchestrator.id)
  scope: workspace
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: orchestrator.id
  }
}

// Autoscale settings are resources of the group, beside the deployments that they scale: see set_autoscale in
// shared/clients/azure_ml/client.py. What is scaled, Azure Monitor does by itself.
resource autoscaler 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'droptune-autoscaler')
  properties: {
    roleName: 'Droptune autoscaler (${name})'
    description: 'Writes and deletes autoscale settings.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Insights/autoscaleSettings/write'
          'Microsoft.Insights/autoscaleSettings/delete'
        ]
      }
    ]
  }
}

resource controlScales 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, controlPrincipalId, autoscaler.id)
  scope: resourceGroup()
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: autoscaler.id
  }
}

// A job whose grader is a judge asks it at its endpoint, under its own name. It may do nothing else there.
resource judgeCaller 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'droptune-judge-caller')
  properties: {
    roleName: 'Droptune judge caller (${name})'
    description: 'Asks the models behind online endpoints.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [{ actions: ['Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action'] }]
  }
}

resource jobAsksJudges 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, jobPrincipalId, judgeCaller.id)
  scope: workspace
  properties: {
    principalId: jobPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: judgeCaller.id
  }
}

resource scratch 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: scratchStorageName
}

// With identity-based system datastores a job's own logs and snapshots go there under its own name.
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'

resource jobWritesScratch 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scratch.id, jobPrincipalId, blobDataContributor)
  scope: scratch
  properties: {
    principalId: jobPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

resource importerWritesScratch 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scratch.id, importerPrincipalId, blobDataContributor)
  scope: scratch
  properties: {
    principalId: importerPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// Microsoft's sample of an endpoint with a user-assigned identity gives it the same on this account (azureml-examples,
// cli/deploy-managed-online-endpoint-access-resource-uai.sh); Azure gives such an identity nothing by itself.
resource serveReadsScratch 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scratch.id, servePrincipalId, blobDataReader)
  scope: scratch
  properties: {
    principalId: servePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}

// Azure gives a system-assigned identity of an endpoint three roles by itself, and a user-assigned one none (Azure ML docs,
// "Authentication for managed online endpoints"). This is the third, beside AcrPull and the reader above.
var metricsWriter = '635dd51f-9968-44d3-b7fb-6d9a6bd613ae'

resource serveWritesMetrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, servePrincipalId, metricsWriter)
  scope: workspace
  properties: {
    principalId: servePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsWriter)
  }
}

// Logs of jobs are read under the reader's own identity: the account takes no keys.
resource deployerReadsLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scratch.id, deployerPrincipalId, blobDataReader)
  scope: scratch
  properties: {
    principalId: deployerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: workspace
  properties: {
    workspaceId: logsId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

output id string = workspace.id
output name string = workspace.name
output systemPrincipalId string = workspace.identity.principalId
output url string = 'azureml://subscriptions/${subscription().subscriptionId}/resourceGroups/${resourceGroup().name}/workspaces/${name}'
