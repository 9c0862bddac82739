"""The command line: one public call per command."""
