"""Arbitrary input for everything that takes data from users: `make fuzz CASES=10000`."""
