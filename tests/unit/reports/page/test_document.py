from reports.page.document import Cell, Code, Document, Figures, Section, Table, Text
from reports.page.figure import say_empty, sheet


def document(**changes):
    table = Table(("name", "figure"), (("a | b", Cell("1.0", "number")), ("<b>", Cell("fail", "bad"))))
    blocks = (
        Figures((("minutes", "12", "of 12"),)),
        Text("Some words."),
        table,
        Table(("x",), (), "no rows, because"),
        Code("desk sql", "bash"),
    )
    fields = {
        "title": "T",
        "kicker": "K",
        "lead": "L",
        "badge": Cell("GO", "good"),
        "notices": ("N",),
        "sections": (Section("S", blocks),),
    }
    return Document(**(fields | changes))


def test_markdown_escapes_pipes_and_keeps_tables_whole():
    text = document().markdown(lambda picture: "")
    assert "| a \\| b | 1.0 |\n| <b> | **fail** |" in text
    assert "no rows, because" in text
    assert "```bash\ndesk sql\n```" in text


def test_html_escapes_what_comes_from_data():
    page = document(title="<script>alert(1)</script>").html()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_sheet_draws_the_same_bytes_twice_and_follows_the_page_colours():
    pictures = []
    for _ in range(2):
        with sheet("probe", "a probe", "caption", (4, 2)) as page:
            say_empty(page.figure.subplots(), "nothing was measured")
        pictures.append(page.picture)
    assert pictures[0] == pictures[1]
    assert "nothing was measured" in pictures[0].svg
    assert "var(--soft" in pictures[0].svg
    assert pictures[0].png.startswith(b"\x89PNG")
