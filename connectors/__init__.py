"""Everything outside the log: Kafka administration, Postgres, model providers, tools, the terminal, embedded parts."""
