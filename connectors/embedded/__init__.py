"""A real Kafka and a real Postgres from Python packages alone, for one machine. See `start.py`."""

from connectors.embedded.errors import EmbeddedError
from connectors.embedded.start import Embedded, Parts

__all__ = ["Embedded", "EmbeddedError", "Parts"]
