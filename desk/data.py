"""Write one page with pictures of what the store holds (`desk data docs`)."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from core.errors import StoreError
from core.settings import load_settings
from store.reader import Reader

app = typer.Typer(help="What the store holds, as a page.", no_args_is_help=True, add_completion=False)


@app.callback()
def data() -> None:
    """Keep `docs` a word of its own, also while it is the only one."""


@app.command("docs")
def docs(
    output: Annotated[Path | None, typer.Option(help="The page; DESK_HOME/reports/data/index.html by default")] = None,
    products: Annotated[str | None, typer.Option(help="Comma separated, such as BTC,ETH; all by default")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in the browser")] = False,
) -> None:
    """Write coverage, quality, prices, features, labels and data set as one HTML page, its pictures as PNG beside it."""
    from reports.data import facts as data_facts  # noqa: PLC0415  # plotting takes a second; --help need not wait for it
    from reports.data import page as data_page  # noqa: PLC0415  # the same

    settings = load_settings()
    chosen = settings.resolve_products(products) if products else ()
    with Reader(settings.paths) as reader:
        facts = data_facts.read(reader, settings.paths.home, settings.feature_set, chosen)
    page = data_page.document(facts)
    target = output or settings.paths.reports / "data" / "index.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for picture in page.pictures:
            target.with_name(f"{target.stem}-{picture.name}.png").write_bytes(picture.png)
        target.write_text(page.html(), encoding="utf-8")
    except OSError as error:
        msg = f"{target} cannot be written ({error.strerror}); name another file with --output"
        raise StoreError(msg) from error
    for line in data_page.terminal_lines(facts):
        print(line)
    print(f"wrote {target}")
    if open_page:
        webbrowser.open(target.resolve().as_uri())
