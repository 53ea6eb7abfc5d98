"""The page, the Markdown and the folder of a report: whole, self-contained, escaped, and true to its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.pages.strict_page import Page
from tests.reports.hand_made import add_archive, add_histories, add_segments, made_online, made_run

from emer.cli import main
from emer.errors import EmerError
from emer.files import write_json, write_text
from emer.reports.content import report_content
from emer.reports.markdown import report_markdown
from emer.reports.online_results import read_online
from emer.reports.page import report_page
from emer.reports.runs import find_runs, read_runs
from emer.reports.write import FILES, write_report

FRONTS = [["pxtr_gauc/mean", "label_gauc/mean"], ["label_gauc/a", "label_gauc/b", "iput_gauc/mean"]]


def content_of(root: Path, online: list[Path] | None = None, reference: str | None = None) -> dict[str, Any]:
    """The content, which must be JSON without NaN."""
    runs, problems = read_runs(find_runs(root))
    content = report_content(
        runs, problems, read_online(online or []), title="A report", reference=reference, wanted_fronts=FRONTS
    )
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    return content


def page_of(content: dict[str, Any]) -> Page:
    """The page, which must be well-formed and need nothing from elsewhere."""
    html = report_page(content)
    page = Page(html)
    assert not [v for _, key, v in page.attributes if key in ("src", "href") and not (v or "").startswith("#")]
    assert not re.search(r"url\(|@import|https?:|\bnan\b|\binf\b", html.lower())
    return page


def values_of(page: Page) -> list[float]:
    return [float(value) for _, key, value in page.attributes if key == "data-v" and value]


def section_with(page: str, key: str) -> str:
    return page.split(f'<h3 id="{key}">', 1)[1].split("<h3", 1)[0]


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, Any]:
    """Runs with all that can lie in their folders, problems of every kind, two logs, and online results."""
    for seed in (1, 2):
        for method, gain in (("emer", 0.0), ("urem", 0.05), ("pantheon", 0.1)):
            path = made_run(tmp_path, method, seed, gain=gain)
            add_histories(path)
            add_segments(path)
    add_archive(tmp_path / "pantheon_simulated_seed1")
    add_segments(made_run(tmp_path, "borda", 1))
    made_run(tmp_path, "intel", 1, status="failed")
    made_run(tmp_path, "emer", 1, data="other", members=("x", "y", "z"))
    online = made_online(tmp_path / "online")
    return content_of(tmp_path, online)


def numbers(node: Any) -> Iterator[float]:
    """Every number below a node."""
    if isinstance(node, dict):
        for value in node.values():
            yield from numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from numbers(value)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield float(node)


def test_numbers_of_the_page_are_those_of_the_json(everything: dict[str, Any]) -> None:
    page = page_of(everything)
    shown = set(values_of(page))
    for section in everything["sections"]:
        wanted: list[Any] = [row["costs"] for row in section["table"]]
        wanted += [v["estimate"] for row in section["table"] for v in row["values"].values()]
        wanted += [
            v[k] for row in section["differences"] for v in row["metrics"].values() for k in ("estimate", "p", "holm")
        ]
        if len(section["table"]) > 2:
            wanted += [pair["estimate"] for pair in section["pairwise"]["pairs"]]
        wanted += [family["methods"] for family in section["objectives"].values()]
        wanted += [[point["values"], point["own"], point["alone"]] for f in section["fronts"] for point in f["points"]]
        wanted += [[part["requests"], part["users"]] for s in section["segments"] for part in s["parts"]]
        differences = [m for s in section["segments"] for part in s["parts"] for m in part["methods"].values()]
        wanted += [v["difference"]["estimate"] for m in differences for v in m.values() if "difference" in v]
        found = list(numbers(wanted))
        assert len(found) >= 20
        assert [value for value in found if value not in shown] == []
    # And nothing that the JSON does not have: negated pairs, places in the table and numbers of seeds aside.
    known = set(numbers(everything)) | {-value for value in numbers(everything)} | {1.0, 2.0, 3.0, 4.0}
    assert shown <= known


def test_words_of_a_cell_round_its_number(everything: dict[str, Any]) -> None:
    html = report_page(everything)
    row = next(s for s in everything["sections"] if s["data"] == "simulated")["table"][0]
    value = row["values"]["label_gauc/mean"]
    half = (value["high"] - value["low"]) / 2
    assert f'<td data-v="{value["estimate"]!r}">{value["estimate"]:.4f} ± {half:.4f}</td>' in html
    assert f"{value['estimate']:.4f} ± {half:.4f}" in report_markdown(everything)


def test_all_parts_are_there_and_what_is_not_is_explained(everything: dict[str, Any]) -> None:
    html = report_page(everything)
    other, simulated = everything["sections"]
    assert simulated["absent"] == {}
    assert set(other["absent"]) == {
        "differences", "settings", "curves", "weights", "losses", "archives", "segments",
    }  # fmt: skip
    for part in ("table", "differences", "pairwise", "settings", "objectives", "curves", "weights", "losses", "fronts",
                 "archives", "costs", "segments"):  # fmt: skip
        assert f'<h3 id="log1-{part}">' in html, part
    assert '<h3 id="log0-absent">' in html and '<h3 id="log1-absent">' not in html
    assert '<section id="online">' in html


def test_problems_stand_at_the_top(everything: dict[str, Any]) -> None:
    html = report_page(everything)
    top = html.split('<section id="log0">')[0]
    assert '<li class="serious"><span class="level">▲ failed: intel_simulated_seed1</span>: it broke</li>' in top
    assert "missing: borda" in top and "with seed 2" in top
    text = report_markdown(everything)
    assert text.index("failed: intel_simulated_seed1") < text.index("## Log")


def test_every_picture_says_itself_in_words(everything: dict[str, Any]) -> None:
    html = report_page(everything)
    count = html.count("<svg")
    assert count >= 15
    assert len(re.findall(r'<svg role="img" aria-label="[^"]{20,}"', html)) == count
    assert len(re.findall(r"</svg><figcaption>[^<]{20,}</figcaption>", html)) == count


def test_the_matrix_is_antisymmetric_and_marks_what_is_sure(everything: dict[str, Any]) -> None:
    html = section_with(report_page(everything), "log1-pairwise")
    rows = [re.findall(r'<td data-v="([^"]*)"', row) for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]
    for i, row in enumerate(rows):
        assert row[i] == ""
        assert all(float(row[j]) == -float(rows[j][i]) for j in range(len(rows)) if j != i)
    first = everything["sections"][1]["pairwise"]["pairs"][0]
    assert [first["first"], first["second"]] == everything["sections"][1]["pairwise"]["methods"][:2]
    assert float(rows[0][1]) == first["estimate"]
    sure = [p for p in everything["sections"][1]["pairwise"]["pairs"] if p["holm"] is not None and p["holm"] < 0.05]
    assert len(sure) > 0 and html.count("<b>") == 2 * len(sure)


def test_no_finished_run_makes_a_report_of_problems(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1, status="failed")
    content = content_of(tmp_path)
    assert (content["overview"]["found"], content["overview"]["finished"], content["sections"]) == (1, 0, [])
    assert "failed: emer_simulated_seed1" in page_of(content).words
    assert "it broke" in report_markdown(content)


def test_one_run_with_one_seed_is_a_report(tmp_path: Path) -> None:
    made_run(tmp_path, "borda", 1)
    content = content_of(tmp_path)
    page = page_of(content)
    assert "No run failed, is missing, or was run twice." in page.words
    assert content["sections"][0]["differences"] == []
    assert "There is no emer on this log" not in page.words  # with one method, nothing is compared


def test_forty_methods_are_a_report(tmp_path: Path) -> None:
    for i in range(40):
        path = made_run(tmp_path, f"method_{i:02}", 1, gain=i / 200)
        add_histories(path, epochs=2, steps=3)
    content = content_of(tmp_path)
    assert len(content["sections"][0]["pairwise"]["pairs"]) == 40 * 39 / 2
    assert len(content["sections"][0]["drawn"]) == 8
    html = report_page(content)
    page_of(content)
    assert len(html.encode()) < 5_000_000
    assert "There is no emer on this log: the reference is the method with the best label GAUC here" in html


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    bad = '<b>"&|x</script>'
    for seed in (1, 2):
        path = made_run(tmp_path, bad, seed, members=("<i>", "b|c", "d"), name=f"bad{seed}", data="<log>")
        add_histories(path, ("<i>", "b|c"))
    made_run(tmp_path, "emer", 1, members=("<i>", "b|c", "d"), data="<log>", settings={"method.note": bad})
    write_json(made_run(tmp_path, "worse", 1, status="failed") / "status.json", {"status": "failed", "error": bad})
    runs, problems = read_runs(find_runs(tmp_path))
    content = report_content(
        runs, problems, title=bad, reference=None, wanted_fronts=[["label_gauc/<i>", "label_gauc/d"]]
    )
    html = report_page(content)
    Page(html)
    assert '<b>"' not in html and "<i>" not in html and html.count("</script>") == 1
    text = report_markdown(content)
    assert "<b>" not in text and "<log>" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_metrics_that_no_request_has_are_dashes(tmp_path: Path) -> None:
    for method in ("emer", "urem"):
        path = made_run(tmp_path, method, 1)
        columns = pq.read_table(path / "per_request.parquet")
        nothing = pa.array(np.full(columns.num_rows, np.nan))
        for name in ("label_gauc/a", "label_gauc/b"):
            columns = columns.set_column(columns.column_names.index(name), name, nothing)
        pq.write_table(columns, path / "per_request.parquet")
        metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        empty = {name: None for name in metrics if name.startswith(("test/label", "test/random/label"))}
        write_json(path / "metrics.json", metrics | empty)
    content = content_of(tmp_path)
    assert content["sections"][0]["table"][0]["values"]["label_gauc/mean"]["estimate"] is None
    page = page_of(content)
    assert page.cells.count("–") > 10
    assert "Pareto fronts: no method has all metrics of one." in page.words


def test_bare_metrics_of_an_odd_run_are_no_numbers(tmp_path: Path) -> None:
    path = made_run(tmp_path, "emer", 1)
    text = (path / "metrics.json").read_text(encoding="utf-8")
    write_text(path / "metrics.json", re.sub(r'("test/label_(auc/sum|gauc/a)": )[\d.]+', r"\1NaN", text))
    made_run(tmp_path, "urem", 1)
    page_of(content_of(tmp_path))


def test_old_run_folders_without_newer_files_are_read(tmp_path: Path) -> None:
    path = made_run(tmp_path, "emer", 1)
    for name in ("timing.json", "environment.json"):
        (path / name).unlink()
    content = content_of(tmp_path)
    assert content["sections"][0]["table"][0]["costs"] == dict.fromkeys(
        ("parameters", "train_rows_per_second", "fit_seconds")
    )
    assert content["overview"]["commits"] == {"unknown": 1}
    assert "1 of the runs do not tell their commit." in page_of(content).words


def test_several_commits_and_changes_without_one_are_warned_of(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    path = made_run(tmp_path, "urem", 1)
    write_json(path / "environment.json", {"commit": "def-dirty", "platform": "Other", "processors": 4})
    found = " ".join(content_of(tmp_path)["overview"]["warnings"])
    assert "2 commits (abc in 1, def-dirty in 1)" in found and "changes that are in no commit (def-dirty)" in found
    assert "2 kinds of machine" in found


def test_a_report_appears_whole_and_replaces_only_a_report(tmp_path: Path, everything: dict[str, Any]) -> None:
    target = tmp_path / "out" / "report"
    write_report(target, everything)
    assert sorted(path.name for path in target.iterdir()) == sorted(FILES)
    assert json.loads((target / "report.json").read_text(encoding="utf-8")) == everything
    write_report(target, everything | {"title": "Another"})
    assert "<title>Another</title>" in (target / "report.html").read_text(encoding="utf-8")
    with pytest.raises(KeyError):
        write_report(target, {"title": "half"})
    assert "<title>Another</title>" in (target / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["report"]
    (target / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(EmerError, match=r"holds notes\.txt, which is of no report"):
        write_report(target, everything)
    assert (target / "notes.txt").is_file()


def test_the_job_writes_the_folder_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for method in ("emer", "urem"):
        made_run(tmp_path / "sweep", method, 1)
    made_run(tmp_path / "sweep", "urem", 2, status="failed")
    assert main(["report", "runs=sweep", "reference=urem", "segments=[]"]) == 0
    out = capsys.readouterr().out
    assert "3 runs, 2 in the tables of 1 log" in out and "failed: urem_simulated_seed2: it broke" in out
    [page] = (tmp_path / "outputs" / "report").glob("*_sweep/report.html")
    assert out.splitlines()[-1] == str(page.relative_to(tmp_path))
    assert "Differences from urem" in page.read_text(encoding="utf-8")


def test_the_job_hands_what_it_wrote_to_the_publisher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[Path], dict[str, Any]]] = []

    def publish(runs: list[Path], **more: Any) -> str:
        calls.append((runs, more))
        return "https://example.org/report"

    monkeypatch.setattr("emer.reports.wandb_report.publish", publish)
    paths = [made_run(tmp_path / "sweep", method, 1) for method in ("emer", "urem")]
    target = tmp_path / "report"
    arguments = [f"runs={tmp_path / 'sweep'}", f"folder={target}", "publish=wandb", "wandb.project=ranking", "title=T"]
    assert main(["report", *arguments]) == 0
    [(runs, more)] = calls
    assert runs == paths
    assert more == {
        "title": "T", "markdown": (target / "report.md").read_text(encoding="utf-8"), "reference": "emer",
        "entity": None, "project": "ranking",
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == "https://example.org/report"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "runs is not set"),
        (["runs=nothing"], "runs: there is nothing at nothing"),
        (["runs=sweep", "reference=borda"], "reference: there is no finished run of borda; there are emer"),
        (["runs=sweep", "publish=nowhere"], "publish is 'nowhere'; it is null or one of wandb"),
        (["runs=sweep", "folder=sweep"], "folder: sweep holds"),
        (["runs=sweep", "fronts=[label_gauc/a]"], "fronts: label_gauc/a is no list of two or three metrics"),
        (["runs=sweep", "online=[sweep]"], "online: sweep has none of"),
    ],
)
def test_wrong_settings_of_a_report_are_explained(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "sweep", "emer", 1)
    assert main(["report", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists() or not list((tmp_path / "outputs").rglob("report.*"))
