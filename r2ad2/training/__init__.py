"""How networks are trained, shown and resumed."""
