"""What the Functions host loads."""

import gc

# Modules are no garbage: at the default of 2,000 new objects a cold start walks them again and again, a fifth of the
# processor time of its imports. A process that has started makes 50,000 objects in some dozen events.
gc.set_threshold(50_000, 20, 100)

from functions.app import create_app  # noqa: E402
from shared.services import services  # noqa: E402

app = create_app(services)
