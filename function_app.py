"""What the Functions host loads."""

from functions.app import create_app
from shared.services import services

app = create_app(services)
