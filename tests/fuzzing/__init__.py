"""Arbitrary input for everything that takes users' data: `make fuzz CASES=10000`."""
