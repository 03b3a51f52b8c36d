"""Azure Monitor of a deployment. Source: azure-rest-api-specs, Microsoft.Insights/stable/2024-02-01/metrics_API.json,
and Azure docs, "Supported metrics for Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"."""

import time
from collections import Counter
from datetime import UTC, datetime

from local_stack.azure_ml.endpoints import EndpointsResource
from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import ArmError

REQUESTS, CAPACITY = "RequestsPerMinute", "DeploymentCapacity"
GRAINS = {"PT1M": 60, "PT5M": 300, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT6H": 21600, "PT12H": 43200}


class Monitor:
    """A minute is known once it is over. Of one without requests there is no value."""

    def __init__(self, store: WorkspaceStore, endpoints: EndpointsResource) -> None:
        self._store, self._endpoints = store, endpoints

    def count(self, endpoint: str, deployment: str) -> None:
        at = int(time.time())
        self._store.add_metric(f"{endpoint}/{deployment}", REQUESTS, 1.0, at // 60, at)

    def metrics(self, workspace: str, endpoint: str, name: str, query: Document) -> Document:
        deployment, step = self._endpoints.get_deployment(endpoint, name), GRAINS.get(query.get("interval", ""))
        names = str(query.get("metricnames")).split(",")
        if not {REQUESTS, CAPACITY} >= set(names) or step is None or query.get("aggregation") != "Average":
            raise ArmError(400, "BadRequest", f"no metrics {names} by {step} s, {query.get('aggregation')}")
        begins, ends = (datetime.fromisoformat(at).timestamp() for at in str(query["timespan"]).split("/"))
        created = datetime.fromisoformat(deployment["systemData"]["createdAt"]).timestamp()
        counted = Counter(point["step"] for _, point in self._store.metrics(f"{endpoint}/{name}", REQUESTS, 0, 10**6))
        data: dict[str, list[Document]] = {metric: [] for metric in names}
        for at in range(int(begins) // step * step, int(ends), step):
            over = [minute for minute in range(at // 60, (at + step) // 60) if created < minute * 60 + 60 < time.time()]
            busy = [counted[minute] for minute in over if counted[minute]]
            known = {REQUESTS: {"average": sum(busy) / len(busy)}} if busy else {}
            known |= {CAPACITY: {"average": float(deployment["sku"]["capacity"])}} if over else {}
            for metric, points in data.items():
                points.append({"timeStamp": datetime.fromtimestamp(at, UTC).isoformat(), **known.get(metric, {})})
        value = [{"name": {"value": metric}, "timeseries": [{"data": points}]} for metric, points in data.items()]
        return {"timespan": query["timespan"], "interval": query["interval"], "value": value}
