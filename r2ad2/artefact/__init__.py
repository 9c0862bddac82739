"""The one file: written, sealed, inspected and read."""
