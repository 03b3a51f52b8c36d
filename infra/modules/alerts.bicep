// What operators are notified of: messages that could not be handled, runs that stand still, deployments that fail, money.
param token string
param location string
param tags object
param email string
param namespaceId string
param eventTopicIds array
param logsId string
param budgetAmount string
param budgetStart string

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'droptune'
    enabled: true
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'alert-dead-letters-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'A queue or subscription has dead letters: droptune dlq.'
    severity: 1
    enabled: true
    scopes: [namespaceId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-letters'
          metricName: 'DeadletteredMessages'
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: ['*']
            }
          ]
        }
      ]
    }
    actions: [{ actionGroupId: operators.id }]
  }
}

resource lostEvents 'Microsoft.Insights/metricAlerts@2018-03-01' = [for (topic, i) in eventTopicIds: {
  name: 'alert-lost-events-${i}-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Grid gave up on an event: see container deadletters.'
    severity: 2
    enabled: true
    scopes: [topic]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'lost-events'
          metricName: 'DeadLetteredCount'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: [{ actionGroupId: operators.id }]
  }
}]

// The line that functions/timers.py logs once a minute when it found something.
resource overdueRuns 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: 'alert-overdue-runs-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'Droptune: overdue runs'
    description: 'A run stayed in a status beyond its deadline and was failed.'
    severity: 2
    enabled: true
    scopes: [logsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: 'AppTraces | where Message startswith "reconcile found" | where Message matches regex "\'overdue\': [1-9]"'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: { actionGroups: [operators.id] }
  }
}

resource failedDeployments 'Microsoft.Insights/activityLogAlerts@2020-10-01' = {
  name: 'alert-failed-deployments-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'An online deployment of a model failed. A failed one may still cost: delete it.'
    enabled: true
    scopes: [resourceGroup().id]
    condition: {
      allOf: [
        {
          field: 'category'
          equals: 'Administrative'
        }
        {
          field: 'operationName'
          equals: 'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write'
        }
        {
          field: 'status'
          equals: 'Failed'
        }
      ]
    }
    actions: { actionGroups: [{ actionGroupId: operators.id }] }
  }
}

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'budget-${token}'
  properties: {
    category: 'Cost'
    amount: int(budgetAmount)
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    notifications: {
      half: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 50
        thresholdType: 'Actual'
        contactEmails: [email]
        contactGroups: [operators.id]
      }
      full: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: [email]
        contactGroups: [operators.id]
      }
      ahead: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [email]
        contactGroups: [operators.id]
      }
    }
  }
}
