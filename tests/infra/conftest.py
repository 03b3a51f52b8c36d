from tests.http.conftest import services

__all__ = ["services"]
