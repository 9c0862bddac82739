"""Training networks: batches, progress, and checkpoints to resume from."""
