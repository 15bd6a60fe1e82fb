"""What crosses a process boundary: events, workflow definitions, Avro. Imports nothing of ours."""
