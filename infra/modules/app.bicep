// The function app on a Flex Consumption plan. Its settings are shared/settings.py's, and what the host needs.
param token string
param location string
param tags object
param privateOnly bool
param subnetId string
param logsId string
param insightsName string
param hostStorageName string
param hostBlobUrl string
param packageContainer string
param controlId string
param controlClientId string
param jobClientId string
param importerClientId string
param serveId string
param serviceBusHost string
param cosmosUrl string
param dataBlobUrl string
param workspaceUrl string
param apiAudience string
param defaultBaseModel string
param projectMonthlyUsd string
param endpointIdleHours string
param runRetentionDays string
param notifyPrivateHosts string

var issuer = '${environment().authentication.loginEndpoint}${subscription().tenantId}/v2.0'

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${token}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: 'func-${token}'
  location: location
  // azd finds the app of service `api` by this tag.
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${controlId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: privateOnly ? subnetId : null
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostBlobUrl}/${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: controlId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        // The Azure ML SDK alone takes 110 MB.
        instanceMemoryMB: 2048
        maximumInstanceCount: 40
        // A Python app gets 1 by default (Azure Functions docs, "Concurrency in Azure Functions"): each open dashboard, whose
        // requests wait up to 20 s for news, would hold an instance of its own. 16 is the default of the other languages.
        triggers: {
          http: { perInstanceConcurrency: 16 }
        }
      }
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: {
    AzureWebJobsStorage__accountName: hostStorageName
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: controlClientId
    ServiceBusConnection__fullyQualifiedNamespace: serviceBusHost
    ServiceBusConnection__credential: 'managedidentity'
    ServiceBusConnection__clientId: controlClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${controlClientId};Authorization=AAD'
    RUN_STORE_URL: cosmosUrl
    EVENT_BUS_URL: 'sb://${serviceBusHost}'
    BLOB_STORE_URL: dataBlobUrl
    AZURE_ML_URL: workspaceUrl
    API_AUTH_URL: '${issuer}?audience=${apiAudience}'
    AZURE_CLIENT_ID: controlClientId
    JOB_CLIENT_ID: jobClientId
    IMPORT_CLIENT_ID: importerClientId
    ENDPOINT_IDENTITY_ID: serveId
    ENDPOINT_IS_PUBLIC: privateOnly ? 'false' : 'true'
    DEFAULT_BASE_MODEL: defaultBaseModel
    INLINE_VALIDATION_MAX_BYTES: '20000000'
    MAX_FILE_BYTES: '16000000000'
    TRAINING_ENVIRONMENT: 'droptune-training:6'
    SERVING_ENVIRONMENT: 'droptune-serving:4'
    CPU_INSTANCE_TYPE: 'Standard_E4ds_v4'
    JOB_POLL_S: '60'
    RETRY_WAIT_S: '60'
    DEBOUNCE_S: '10'
    PROJECT_MONTHLY_USD: projectMonthlyUsd
    ENDPOINT_IDLE_HOURS: endpointIdleHours
    RUN_RETENTION_DAYS: runRetentionDays
    RECONCILE_SCHEDULE: '0 * * * * *'
    PROBE_SCHEDULE: '0 * * * * *'
    MONITOR_SCHEDULE: '0 */5 * * * *'
    RETIRE_SCHEDULE: '0 */10 * * * *'
    RETRAIN_SCHEDULE: '0 0 * * * *'
    APP_URL: 'https://${app.properties.defaultHostName}'
    NOTIFY_PRIVATE_HOSTS: notifyPrivateHosts
  }
}

// The second lock: functions/http/auth.py checks every token itself. The dashboard's files hold no data.
resource auth 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: true }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      excludedPaths: [
        '/'
        '/static/*'
        '/api/health'
        '/api/ready'
      ]
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          openIdIssuer: issuer
          clientId: apiAudience
        }
        validation: { allowedAudiences: [apiAudience] }
      }
    }
    login: {
      tokenStore: { enabled: false }
    }
  }
  // Two changes of a site's configuration at once are refused.
  dependsOn: [settings]
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: app
  properties: {
    workspaceId: logsId
    logs: [
      {
        // A category that a plan lacks is refused at deployment; the group takes what there is.
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

output id string = app.id
output name string = app.name
output host string = app.properties.defaultHostName
