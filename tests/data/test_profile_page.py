"""The page of a profile: whole, self-contained, escaped; and where it is written."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from tests.data.profiled import by_hand, leaves, sound, write_log
from tests.pages.strict_page import Page

from emer.config_files import config_dir
from emer.data.parquet import write_requests
from emer.data.profile.content import profile_folder
from emer.data.profile.page import moment, profile_page
from emer.data.profile.write import place_of, write_profile
from emer.data.table import RequestTable
from emer.errors import DataError, EmerError
from emer.jobs.app import register
from emer.jobs.prepare import prepare
from emer.pages.html import text
from emer.pages.pictures import heat, ranges, reliability, steps
from emer.pages.svg import number
from emer.requests import Objective, Schema


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The hand-made log with something wrong, and all that can stand beside requests."""
    root = write_log(tmp_path_factory.mktemp("page") / "log", by_hand())
    source = {"name": "A <b>log</b>", "licence": "CC0", "home": "https://example.org", "known_faults": ["<script>x"]}
    (root / "source.json").write_text(json.dumps(source))
    figures = {"rows": 4, "ece": 0.125, "auc": None}
    quality = {"pooled": {"pctr": figures}, "by_day": {"2022-05-01": {"pctr": figures | {"ece": 0.375}}}}
    (root / "calibration.json").write_text(json.dumps(quality))
    return profile_folder(root, described="<script>alert(1)</script> & more")


@pytest.fixture(scope="module")
def html(profiled: dict[str, Any]) -> str:
    return profile_page(profiled)


def test_nothing_comes_from_elsewhere(html: str) -> None:
    page = Page(html)
    links = [value for _, key, value in page.attributes if key in ("href", "src", "srcset", "data", "xlink:href")]
    assert links and all(link is not None and re.fullmatch(r"#[a-z]+", link) for link in links)
    assert not re.search(r"@import|url\(|<script|<link|<iframe|<img", html)
    ids = {value for _, key, value in page.attributes if key == "id"}
    assert {f"#{one}" for one in ids} == set(links)
    assert "https://example.org" in page.words and len(html) < 2_000_000


def test_every_number_of_the_content_stands_on_the_page(profiled: dict[str, Any], html: str) -> None:
    page = Page(html)
    cells, words = set(page.cells), page.words.lower()
    in_text = ("schema", "name", "described", "about", "items", "sampled", "warnings")
    checked = 0
    for path, value in leaves(profiled):
        shown = unescape(text(value))
        if path[0] in in_text:
            assert shown.lower() in words, path
        elif path[0] != "format":
            assert shown in cells, path
            checked += 1
    assert checked > 500


def test_words_are_escaped(html: str) -> None:
    assert "<script>" not in html and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    assert "<b>log" not in html and "A &lt;b&gt;log" in html


def test_every_picture_has_words_caption_and_a_table(html: str) -> None:
    page = Page(html)
    pictures = [(key, value) for tag, key, value in page.attributes if tag == "svg"]
    count = html.count("<svg")
    assert count >= 10
    labels = [value for key, value in pictures if key == "aria-label"]
    assert len(labels) == count and all(label and "table" in label for label in labels)
    assert len(re.findall(r"</svg><figcaption>[^<]{10,}</figcaption>", html)) == count
    assert sum(1 for key, value in pictures if key == "role" and value == "img") == count


def test_warnings_say_number_limit_and_remedy(profiled: dict[str, Any], html: str) -> None:
    words = re.sub(r"\s+", " ", Page(html).words)
    assert profiled["warnings"]
    for one in profiled["warnings"]:
        assert f"{one['subject']} ({one['kind']}): {one['text']}: " in words
        assert one["advice"] in words and f"limit {number(one['limit'])}." in words


def test_a_sound_log_has_a_page_without_warnings(tmp_path: Path) -> None:
    tables = {name: RequestTable.build(**columns) for name, columns in sound().items()}
    html = profile_page(profile_folder(write_log(tmp_path, tables)))
    assert '<section id="warnings"><h2>Warnings</h2><p>None.</p></section>' in html
    Page(html)


@pytest.mark.parametrize("exposed", [False, True])
def test_a_page_of_next_to_nothing(exposed: bool, tmp_path: Path) -> None:
    """One request and one candidate, without labels, features and optional columns."""
    table = RequestTable.build(
        schema=Schema(objectives=(Objective("pctr"),)), offsets=[0, 1], request_id=[1], user_id=[1], time_ms=[1],
        item_id=[1], pxtr=[[0.0]], exposed=[exposed],
    )  # fmt: skip
    write_requests(table, tmp_path / "a.parquet")
    html = profile_page(profile_folder(tmp_path))
    Page(html)
    assert "cuts it along time" in html and "The schema lists no feedback." in html


def test_pictures_draw_what_they_are_given() -> None:
    svg = steps(["0", "1", "2"], {"train": [3, 1], "test": [0, 4]}, x="x", alt="a < b")
    (train, test) = re.findall(r'polyline points="([^"]+)"', svg)
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in (train, test)]
    base, top = heights[1][0], min(heights[1])
    assert (base - heights[0][1]) / (base - top) == pytest.approx(0.75, abs=0.01)
    assert heights[1][1] == base and 'aria-label="a &lt; b"' in svg
    log = ranges([("a", {"train": (0.001, 0.01, 0.01, 0.1, 1.0), "test": None})], x="x", log=True, alt="")
    ends = re.findall(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" stroke="#0072B2"', log)
    (low, high), (left, right) = [[float(v) for v in pair] for pair in ends]
    assert (left - low) / (high - low) == pytest.approx(1 / 3, abs=0.01) and (right - low) / (high - low) == (
        pytest.approx(2 / 3, abs=0.01)
    )
    bins = {"predicted": [0.0, 0.5], "actual": [0.0, 1.0], "rows": [1, 1]}
    line = re.search(r'polyline points="([^"]+)"', reliability({"train": bins}, unit="", alt=""))
    assert line is not None
    (x0, y0), (x1, y1) = [map(float, point.split(",")) for point in line.group(1).split()]
    assert (y0 - y1) == pytest.approx(2 * (x1 - x0), abs=0.2)
    colours = re.findall(
        r'fill="(#\w+)"', heat(["r"], ["a", "b", "c"], [[0.5, 1.0, None]], centre=0.5, reach=0.5, alt="")
    )
    assert colours == ["#ffffff", "#f0963c", "#eee"]


def test_numbers_and_times_are_readable() -> None:
    assert [number(v) for v in (1234567, 0.123456, 1234.6, None, 0.0)] == ["1,234,567", "0.1235", "1,235", "–", "0"]
    assert moment(1_650_000_000_000) == "2022-04-15 05:20:00" and moment(3000) == "–"


def test_both_files_are_written_and_agree(tmp_path: Path) -> None:
    root = write_log(tmp_path / "log", by_hand())
    page = write_profile(root, tmp_path / "out", "words")
    assert page == tmp_path / "out" / "profile.html"
    content = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert content == profile_folder(root, described="words")
    assert page.read_text() == profile_page(profile_folder(root, described="words"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["profile.html", "profile.json"]


def test_a_faulty_file_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    root = write_log(tmp_path / "log", by_hand())
    path = root / "train" / "part-0.parquet"
    data = pq.read_table(path)
    place = data.column_names.index("pxtr_pctr")
    values = data["pxtr_pctr"].to_pylist()
    values[1][0] = 7.0
    pq.write_table(
        data.set_column(place, "pxtr_pctr", pa.array(values, pa.list_(pa.float32()))), path, row_group_size=1
    )
    with pytest.raises(DataError, match=r"part-0\.parquet, row 1 \(request_id 2\), column pxtr_pctr: 7\.0 at list"):
        write_profile(root, root)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="not a Parquet file"):
        write_profile(root, root)
    assert sorted(p.name for p in root.iterdir()) == ["test", "train", "validation"]


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    root = write_log(tmp_path / "log", by_hand())
    (tmp_path / "file").write_text("")
    with pytest.raises(EmerError, match="describe_to"):
        write_profile(root, tmp_path / "file" / "sub")


def test_the_place_is_inside_what_was_prepared_and_outside_what_is_the_users(tmp_path: Path) -> None:
    cache, output = tmp_path / "cache", tmp_path / "outputs"
    prepared, own = cache / "simulated-1", tmp_path / "mine" / "requests"
    for folder in (prepared, own, tmp_path / "other" / "requests"):
        folder.mkdir(parents=True)
    assert place_of(prepared, output, cache) == prepared
    place = place_of(own, output, cache)
    assert place.parent == output / "profile" and place.name.startswith("requests-")
    assert place != place_of(tmp_path / "other" / "requests", output, cache)


def test_prepare_describes_what_it_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register()
    paths = [f"paths.cache_dir={tmp_path / 'cache'}", f"paths.output_dir={tmp_path / 'outputs'}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):

        def last_line(*overrides: str) -> Path:
            prepare(compose("prepare", [*paths, *overrides]))
            return Path(capsys.readouterr().out.strip().splitlines()[-1])

        folder = last_line("data=tiny")
        assert folder.is_dir() and not (folder / "profile.html").exists()
        page = last_line("data=tiny", "describe=true")
        assert page == folder / "profile.html" and page.is_file() and (folder / "profile.json").is_file()
        assert last_line("data=tiny", f"describe_to={tmp_path / 'here'}") == tmp_path / "here" / "profile.html"
        own = write_log(tmp_path / "own", by_hand())
        mine = last_line("data=parquet", f"data.root={own}", "describe=true")
    assert mine.is_file() and mine.is_relative_to(tmp_path / "outputs" / "profile")
    assert sorted(path.name for path in own.iterdir()) == ["test", "train", "validation"]
    content = json.loads((folder / "profile.json").read_text())
    assert content["splits"]["train"]["requests"] == 192 and content["described"].startswith("simulated log")
    Page(page.read_text())


def test_what_is_not_finite_never_reaches_the_content(profiled: dict[str, Any]) -> None:
    assert all(np.isfinite(value) for _, value in leaves(profiled) if isinstance(value, float))
