// Service Bus: the topic, a subscription per stage, the queues. topology.json is written from shared/pipeline.toml.
param name string
param location string
param tags object
param privateOnly bool
param logsId string
param controlPrincipalId string
param eventsPrincipalId string

var topology = loadJsonContent('../topology.json')
var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
var serviceBusDataOwner = '090c5cfd-751d-490a-894a-3ce6f1109419'

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    // Private endpoints need Premium.
    name: privateOnly ? 'Premium' : 'Standard'
    tier: privateOnly ? 'Premium' : 'Standard'
    capacity: privateOnly ? 1 : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
  }
}

resource queues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [for queue in topology.queues: {
  parent: bus
  name: queue
  properties: {
    lockDuration: topology.lockDuration
    maxDeliveryCount: topology.maxDeliveryCount
    defaultMessageTimeToLive: 'P14D'
    deadLetteringOnMessageExpiration: true
  }
}]

resource topic 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = {
  parent: bus
  name: topology.topic
  properties: {
    defaultMessageTimeToLive: 'P14D'
    // The inbox of each run catches repeats; see docs/explanation/architecture.md.
    requiresDuplicateDetection: false
  }
}

resource subscriptions 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = [for subscription in topology.subscriptions: {
  parent: topic
  name: subscription
  properties: {
    lockDuration: topology.lockDuration
    maxDeliveryCount: topology.maxDeliveryCount
    defaultMessageTimeToLive: 'P14D'
    deadLetteringOnMessageExpiration: true
    deadLetteringOnFilterEvaluationExceptions: true
  }
}]

// The first rule of a subscription is named $Default and so takes the place of the one that lets everything pass.
resource rules 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = [for rule in topology.rules: {
  name: '${name}/${topology.topic}/${rule.subscription}/${rule.name}'
  properties: {
    filterType: 'CorrelationFilter'
    correlationFilter: {
      label: rule.subject
    }
  }
  dependsOn: [subscriptions]
}]

resource storageEvents 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' existing = {
  parent: bus
  name: 'storage-events'
}

resource jobEvents 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' existing = {
  parent: bus
  name: 'job-events'
}

// Sending and receiving would do for the app's code. The Functions runtime reads queue lengths to scale, which needs
// Manage; see docs/decisions/0030. Data Owner has all three: on what the app uses, not on the namespace.
resource controlOwnsQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queue, i) in topology.queues: {
  name: guid(bus.id, queue, controlPrincipalId, serviceBusDataOwner)
  scope: queues[i]
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataOwner)
  }
}]

resource controlOwnsTopic 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(topic.id, controlPrincipalId, serviceBusDataOwner)
  scope: topic
  properties: {
    principalId: controlPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataOwner)
  }
}

resource eventsToStorageQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storageEvents.id, eventsPrincipalId, serviceBusDataSender)
  scope: storageEvents
  properties: {
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
  }
  dependsOn: [queues]
}

resource eventsToJobQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(jobEvents.id, eventsPrincipalId, serviceBusDataSender)
  scope: jobEvents
  properties: {
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
  }
  dependsOn: [queues]
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: bus
  properties: {
    workspaceId: logsId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

output id string = bus.id
output name string = bus.name
output host string = '${name}.servicebus.windows.net'
