"""`make demo`: one dataset's whole way on this machine, from the drop zone to an answering endpoint."""
