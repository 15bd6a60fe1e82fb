"""What several tests need: the run's broker and database, and the wall around the machine."""
