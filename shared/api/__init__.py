"""The HTTP API's requests and answers: the server writes them, the command line reads them."""
