"""Cells, sortable tables and the one inline script."""

from __future__ import annotations

from emer.pages.html import SORTING, Shown, page, table, text


def test_a_shown_number_keeps_its_value_and_its_words() -> None:
    cell = Shown("0.5000 ± 0.0100", 0.50004, "#ffeedd", True, 'a "hint" <b>')
    html = table(["m", "v"], [["x", cell], ["y", Shown("–")]], "c")
    assert '<td data-v="0.50004" style="background:#ffeedd" title="a &quot;hint&quot; &lt;b&gt;">' in html
    assert "<b>0.5000 ± 0.0100</b></td>" in html
    assert '<td data-v="">–</td>' in html


def test_words_in_cells_are_escaped() -> None:
    assert text(Shown("<i>")) == "&lt;i&gt;" == text("<i>")
    html = table(["<h>"], [["<r>"]], "<c>", foot=[["<f>"]])
    assert not any(f"<{letter}>" in html for letter in ("h", "r", "c", "f"))


def test_dotted_names_may_be_broken_where_words_wrap() -> None:
    row = ["a.b_c.d", "1.5", "x <y.z>"]
    assert "a.<wbr>b_c.<wbr>d</th>" in table(["k", "v", "w"], [row], "c", wrap=True)
    assert "1.5</td>" in table(["k", "v", "w"], [row], "c", wrap=True)
    assert "<wbr>" not in table(["k", "v", "w"], [row], "c")


def test_the_foot_stays_out_of_the_rows_that_are_sorted() -> None:
    html = table(["a"], [["1"], ["2"]], "c", foot=[["floor"]], sort=True)
    body, foot = html.split("<tfoot>")
    assert '<table class="sort">' in html and "floor" in foot and "floor" not in body
    assert "<table>" in table(["a"], [], "c")


def test_a_page_has_a_script_only_where_it_is_given_one() -> None:
    assert "<script" not in page("t", ["<p>x</p>"])
    assert page("t", [], SORTING).count("<script>") == 1
    assert "</script" not in SORTING and "http" not in SORTING
