"""Kafka in memory, as far as this project relies on it. The conformance tests hold it to the real broker."""
