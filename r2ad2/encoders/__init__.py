"""From what users have to what networks take."""
