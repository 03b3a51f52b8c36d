"""What the steps need of the outside world. Implementations: `shared.embedded`, `shared.clients`."""

from shared.ports.blobs import BlobInfo, BlobStore
from shared.ports.bus import DEAD_LETTERS, EventBus, Message, Publisher, ReceivedMessage
from shared.ports.services import Clock, Config, JobLauncher, ModelHost, Notifier, Services
from shared.ports.store import Document, RunStore, Stored, Write
