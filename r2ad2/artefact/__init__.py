"""The model file: how it is written, sealed, inspected and read."""
