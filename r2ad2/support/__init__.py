"""What every other room stands on: messages, files, progress, and private names of Keras."""
