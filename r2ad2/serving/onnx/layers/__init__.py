"""Converters of Keras layers, one file per family."""

import importlib
import pkgutil

# Importing a module registers its converters, so a new file in this folder needs no entry anywhere.
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
