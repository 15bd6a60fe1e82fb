"""aiokafka's clients as far as the runtime uses them, on the in-memory broker."""
