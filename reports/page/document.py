"""Hold a report as data; write it as Markdown for terminals and the Prefect UI, and as one HTML page.

The page needs nothing else: style and pictures are inside it, it reads in light and in dark, and it prints.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable

Tone = Literal["plain", "number", "good", "bad", "wait", "code"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, or one badge: its text and how it is to be read."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a cell that is a plain ``str`` has no tone."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    empty: str = "nothing to show"
    """Said in its place when there are no rows."""
    kind: str = "table"

    def records(self) -> list[dict[str, str]]:
        """Return the rows as plain texts by column, for a place that draws tables itself."""
        return [
            {name: cell if isinstance(cell, str) else cell.text for name, cell in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of key figures: label, figure, one line below it."""

    items: tuple[tuple[str, Cell | str, str], ...]
    kind: str = "figures"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Code:
    """Something to copy into a terminal."""

    text: str
    language: str
    kind: str = "code"


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot in both forms: SVG for the page (it follows light and dark), PNG for Markdown."""

    name: str
    alt: str
    caption: str
    svg: str
    png: bytes
    kind: str = "picture"

    @property
    def data_uri(self) -> str:
        """The PNG as text, for a place that can hold no second file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


Block = Table | Figures | Text | Code | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with blocks below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    kicker: str
    """What kind of report it is, in a few words."""
    lead: str
    badge: Cell | None
    notices: tuple[str, ...]
    """What a reader must know before any figure, such as that the market was simulated."""
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every picture, in order."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Picture))

    def html(self) -> str:
        """Return one self-contained page."""
        return _environment().get_template("document.html.j2").render(document=self, style=Markup(_text("style.css")))  # noqa: S704 - our own file

    def markdown(self, picture_source: Callable[[Picture], str]) -> str:
        """Return Markdown; ``picture_source`` says where each picture is to be found."""
        text = _environment().get_template("document.md.j2").render(document=self, source=picture_source)
        return text.strip() + "\n"


def _text(name: str) -> str:
    return files("reports.page").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    names = ("document.html.j2", "document.md.j2")
    environment = Environment(
        loader=DictLoader({name: _text(name) for name in names}),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, Cell) else Cell(str(cell))
    environment.filters["pipe"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["svg"] = lambda picture: Markup(picture.svg)  # noqa: S704 - drawn by our own plots
    return environment
