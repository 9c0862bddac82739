"""The analyst's loop: look at suspicious rows, label them, have the detector learn from it.

`open_review` starts from files, `widget` shows the page in a notebook, and `ReviewSession` is the
loop without a page. The names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2ad2.review.launch import Review, open_review
    from r2ad2.review.notebook import ReviewWidget, widget
    from r2ad2.review.session import ReviewSession

__all__ = ["Review", "ReviewSession", "ReviewWidget", "open_review", "widget"]

_HOMES = {
    "Review": "launch",
    "ReviewSession": "session",
    "ReviewWidget": "notebook",
    "open_review": "launch",
    "widget": "notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'r2ad2.review' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"r2ad2.review.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
