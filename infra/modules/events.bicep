// Event Grid: new blobs in the drop zone, and jobs that changed, onto the queues; under an identity, with dead letters.
param token string
param location string
param tags object
param dataStorageId string
param workspaceId string
param namespaceId string
param eventsId string

resource storageTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: 'evgt-storage-${token}'
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${eventsId}': {}
    }
  }
  properties: {
    source: dataStorageId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource jobTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: 'evgt-jobs-${token}'
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${eventsId}': {}
    }
  }
  properties: {
    source: workspaceId
    topicType: 'Microsoft.MachineLearningServices.Workspaces'
  }
}

resource datasets 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: storageTopic
  name: 'datasets'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      subjectBeginsWith: '/blobServices/default/containers/datasets/'
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deliveryWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: eventsId
      }
      destination: {
        endpointType: 'ServiceBusQueue'
        properties: { resourceId: '${namespaceId}/queues/storage-events' }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: eventsId
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: dataStorageId
          blobContainerName: 'deadletters'
        }
      }
    }
  }
}

resource jobs 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: jobTopic
  name: 'jobs'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: [
        'Microsoft.MachineLearningServices.RunStatusChanged'
        'Microsoft.MachineLearningServices.RunCompleted'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deliveryWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: eventsId
      }
      destination: {
        endpointType: 'ServiceBusQueue'
        properties: { resourceId: '${namespaceId}/queues/job-events' }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: eventsId
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: dataStorageId
          blobContainerName: 'deadletters'
        }
      }
    }
  }
}

output storageTopicId string = storageTopic.id
output jobTopicId string = jobTopic.id
