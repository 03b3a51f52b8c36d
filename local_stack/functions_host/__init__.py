"""A local Azure Functions host: it reads an app's own functions and bindings and dispatches to them."""
