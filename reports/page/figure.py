"""Draw a plot into a `Picture`: one look, colours that everyone can tell apart, the same bytes every time.

Drawn with matplotlib's object interface on the Agg canvas: no display, no global state, safe in any thread.
In the SVG each colour is replaced by the page's CSS variable of that name, so plots follow light and dark.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from reports.page.document import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

# Okabe and Ito's palette, by the names the style sheet gives it
COLORS = {
    "ink": "#1d2530",
    "soft": "#596474",
    "grid": "#e6e9ed",
    "card": "#ffffff",
    "blue": "#0072b2",
    "orange": "#d98200",
    "green": "#009e73",
    "red": "#d55e00",
    "purple": "#a8588a",
    "sky": "#3f9fd6",
    "grey": "#7d8896",
}
SERIES = ("blue", "orange", "green", "purple", "sky", "red")
"""Order in which products and models take their colours."""

EMPTY_SIZE = (10.0, 0.8)
"""Inches of a picture that has nothing to show but the reason why."""

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": COLORS["ink"],
    "axes.labelcolor": COLORS["soft"],
    "axes.labelsize": 9.5,
    "axes.edgecolor": COLORS["grid"],
    "axes.facecolor": COLORS["card"],
    "figure.facecolor": COLORS["card"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLORS["soft"],
    "ytick.color": COLORS["soft"],
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": COLORS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "date.converter": "auto",
    "timezone": "UTC",
    "path.simplify": True,
}


@dataclass(slots=True)
class Sheet:
    """One figure in the making; `picture` is there once the drawing block is left."""

    figure: Figure
    name: str
    alt: str
    caption: str
    _done: list[Picture] = field(default_factory=list)

    @property
    def picture(self) -> Picture:
        """The finished picture."""
        return self._done[0]

    def finish(self) -> None:
        """Lay out once, then write both forms of the same layout."""
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        self._done.append(Picture(self.name, self.alt, self.caption, _svg(self.figure, self.name), _png(self.figure)))


@contextmanager
def sheet(name: str, alt: str, caption: str, size: tuple[float, float] = (10.0, 3.6)) -> Iterator[Sheet]:
    """Open a figure in Candledesk's style; leave the block and it is drawn."""
    style = _STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(style):
        page = Sheet(Figure(figsize=size, layout="constrained"), name, alt, caption)
        FigureCanvasAgg(page.figure)
        yield page
        page.finish()


def say_empty(axes: Axes, why: str) -> None:
    """Fill an empty plot with the reason why it is empty."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=COLORS["soft"], wrap=True)


def utc_axis(axes: Axes) -> None:
    """Label the x axis with UTC times, no more of them than fit."""
    locator = AutoDateLocator(minticks=4, maxticks=9, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC, show_offset=False))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time (UTC)")


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=100, metadata={"Software": None})
    return sink.getvalue()


def _svg(figure: Figure, name: str) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    # several pictures share one page, so every id carries its picture's name
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for color, code in COLORS.items():
        text = text.replace(code, f"var(--{color}, {code})")
    return text
