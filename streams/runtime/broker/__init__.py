"""Records to and from the broker, over aiokafka's connections, in requests written and read here.

aiokafka keeps what is hard and rare: metadata, security, groups, transactions. Its way of a record takes five times the CPU of
these, because each request passes several tasks and a description of its format is walked field by field (docs/adr/0008).
"""
