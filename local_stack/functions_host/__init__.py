"""A local Azure Functions host: it reads an app's own functions and bindings and dispatches to them."""

from local_stack.functions_host.host import Host
from local_stack.functions_host.loading import StartRefused, load_app

__all__ = ["Host", "StartRefused", "load_app"]
