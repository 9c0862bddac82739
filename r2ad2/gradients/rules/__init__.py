"""Closed forms of per-sample gradients: one file per layer family.

How to add one is described in `r2ad2.gradients.rules.registry`.
"""

import importlib
import pkgutil

from r2ad2.gradients.rules.registry import GradientRule, find_rule, register_rule

__all__ = ["GradientRule", "find_rule", "register_rule"]

# Importing a module registers its rules, so a new file in this folder needs no entry anywhere.
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
