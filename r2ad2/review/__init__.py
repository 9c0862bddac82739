"""The analyst's loop: look at suspicious rows, label them, have the detector learn from it.

`open_review` starts from files, `widget` shows the page in a notebook, and `ReviewSession` is the
loop without a page.
"""

from r2ad2.review.launch import Review, open_review
from r2ad2.review.session import ReviewSession
from r2ad2.review.widget import ReviewWidget, widget

__all__ = ["Review", "ReviewSession", "ReviewWidget", "open_review", "widget"]
