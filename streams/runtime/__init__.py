"""The Kafka consumer runtime: partition ownership, publish-then-commit, fenced state. Knows nothing of agents."""

from streams.runtime.batches import BatchProcessor, BatchRuntime, BatchSettings
from streams.runtime.broker.client import use_patient_clients
from streams.runtime.broker.fetching import Fetching
from streams.runtime.model import (
    DeadLetter,
    Fenced,
    Interrupted,
    Outgoing,
    PartitionView,
    Processor,
    Record,
    RuntimeFailed,
    RuntimeSettings,
    SetAside,
    StateCodec,
    StateTooLarge,
    Step,
    TooLarge,
    Unavailable,
    Undecodable,
    UnreadableState,
    Unwritable,
)
from streams.runtime.partition import PartitionStatus
from streams.runtime.publisher import Publisher
from streams.runtime.runtime import Runtime
from streams.runtime.table import FollowedTopic
from streams.runtime.tail import tail
from streams.runtime.transaction import Transactions

__all__ = [
    "BatchProcessor",
    "BatchRuntime",
    "BatchSettings",
    "DeadLetter",
    "Fenced",
    "Fetching",
    "FollowedTopic",
    "Interrupted",
    "Outgoing",
    "PartitionStatus",
    "PartitionView",
    "Processor",
    "Publisher",
    "Record",
    "Runtime",
    "RuntimeFailed",
    "RuntimeSettings",
    "SetAside",
    "StateCodec",
    "StateTooLarge",
    "Step",
    "TooLarge",
    "Transactions",
    "Unavailable",
    "Undecodable",
    "UnreadableState",
    "Unwritable",
    "tail",
    "use_patient_clients",
]
