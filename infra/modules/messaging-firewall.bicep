// Closed to all but private endpoints, and to Event Grid, which delivers as a trusted service.
param namespaceName string

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource firewall 'Microsoft.ServiceBus/namespaces/networkRuleSets@2024-01-01' = {
  parent: bus
  name: 'default'
  properties: {
    publicNetworkAccess: 'Disabled'
    defaultAction: 'Deny'
    trustedServiceAccessEnabled: true
  }
}
