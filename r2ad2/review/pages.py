"""Renders the analyst's page and its parts."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from r2ad2.review.queue import ORDERS, PAGE_ROWS, SHOWN
from r2ad2.review.scoring import Cause
from r2ad2.review.security import Access
from r2ad2.review.session import ReviewSession
from r2ad2.review.store import LABELS
from r2ad2.support.extras import from_extra
from r2ad2.support.messages import count

with from_extra("review", "jinja2"):
    import jinja2

_CAUSES = 8
_LONGEST = 200
_ORDER_NAMES = {"suggested": "suggested first", "score": "highest score first"}
_SHOWN_NAMES = {
    "unreviewed": "not yet reviewed",
    "flagged": "flagged, not yet reviewed",
    "reviewed": "reviewed",
    "anomaly": "labelled anomaly",
    "normal": "labelled normal",
    "unsure": "labelled unsure",
    "all": "all rows",
}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


class Pages:
    """Turns a session into HTML; every text of it is escaped.

    Args:
        session: rows and labels.
        access: token, for pages in a frame.
        title: what is reviewed.
    """

    def __init__(self, session: ReviewSession, access: Access, title: str):
        self._session = session
        self._token = access.token if access.is_framed else ""
        self._run = access.run
        self._title = title
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("r2ad2.review"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"short": _short, "percent": _percent, "count": count}
        self._render = functools.partial(_render, environment)

    def page(self) -> str:
        """Render the whole page."""
        return self._render(
            "page.html",
            title=self._title,
            token=self._token,
            run=self._run,
            query=f"?token={self._token}" if self._token else "",
            orders={name: _ORDER_NAMES[name] for name in ORDERS},
            shown={name: _SHOWN_NAMES[name] for name in SHOWN},
            can_learn=self._session.can_learn,
            labels_file=self._session.store.path.name,
            figures_html=self.figures(),
            queue_html=self.queue("suggested", "unreviewed", "", 0),
        )

    def queue(self, order: str, show: str, text: str, page: int) -> str:
        """Render one page of the queue.

        Raises:
            ValueError: for a search that cannot be carried out.
        """
        session = self._session
        order = order if order in ORDERS else ORDERS[0]
        show = show if show in SHOWN else SHOWN[0]
        positions = session.queue(order, show, text)
        n_pages = max(math.ceil(len(positions) / PAGE_ROWS), 1)
        page = min(page, n_pages - 1)
        scoring, labels = session.scoring, session.labels()
        suggested = set(scoring.order[: scoring.n_suggested].tolist())
        chosen = positions[page * PAGE_ROWS : (page + 1) * PAGE_ROWS].tolist()
        rows = [
            {
                "position": i,
                "name": str(session.rows.names[i]),
                "score": float(scoring.scores[i]),
                "p_value": None if scoring.p_values is None else float(scoring.p_values[i]),
                "label": labels[i],
                "is_suggested": order == "suggested" and i in suggested,
            }
            for i in chosen
        ]
        return self._render(
            "queue.html",
            rows=rows,
            n=len(positions),
            page=page,
            n_pages=n_pages,
            first=page * PAGE_ROWS + 1,
        )

    def row(self, position: int) -> str:
        """Render a row: its values beside typical ones, and similar rows already labelled."""
        session = self._session
        scoring, label = session.scoring, session.labels()[position]
        given = session.store.current().get(session.rows.keys[position])
        comparisons = session.compare(position)
        return self._render(
            "row.html",
            position=position,
            name=str(session.rows.names[position]),
            label=label,
            note=given.note if given else "",
            score=float(scoring.scores[position]),
            p_value=None if scoring.p_values is None else float(scoring.p_values[position]),
            is_flagged=bool(scoring.is_flagged[position]),
            n_alike=int(session.rows.n_alike[position]),
            comparisons=sorted(comparisons, key=lambda one: not one.unusual),
            has_typical=session.typical is not None,
            similar=[
                {"name": str(session.rows.names[s.position]), **s._asdict()}
                for s in session.similar(position)
            ],
        )

    def explanation(self, position: int) -> str:
        """Render what raises or lowers a row's score."""
        causes: list[Cause] = self._session.explain(position)
        greatest = max((abs(cause.attribution) for cause in causes), default=0.0)
        compared = {one.name: one for one in self._session.compare(position)}
        bars = [
            {
                "name": cause.name,
                "attribution": cause.attribution,
                "width": 50 * abs(cause.attribution) / greatest,
                "compared": compared.get(cause.name),
            }
            for cause in causes[:_CAUSES]
            if abs(cause.attribution) > 1e-6
        ]
        rest = float(np.sum([cause.attribution for cause in causes[_CAUSES:]]))
        return self._render("explanation.html", bars=bars, rest=rest, n_rest=len(causes) - _CAUSES)

    def figures(self) -> str:
        """Render what is known so far, and what the latest learning changed."""
        # Rounds of earlier versions do not say how many labels they learnt from.
        rounds: list[dict[str, Any]] = [
            {"n_learnt": one["n_anomaly"] + one["n_normal"], **one}
            for one in self._session.store.rounds()
        ]
        return self._render("figures.html", now=self._session.figures(), rounds=rounds)

    def problem(self, text: str) -> str:
        """Render a problem in place of the queue."""
        return self._render("problem.html", text=text)


def _render(environment: jinja2.Environment, template: str, /, **values: Any) -> str:
    return environment.get_template(template).render(labels=LABELS, **values)
