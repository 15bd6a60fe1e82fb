"""What moves events: the pure core, the Kafka runtime, and one processor a file."""
