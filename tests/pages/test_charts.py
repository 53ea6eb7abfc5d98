"""What pictures draw is where the numbers say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from emer.pages.charts import Curve, Point, curves, radar, scatter
from emer.pages.svg import bare, cut, decades, diverging, legend, mark, nice, styles, ticks


def shapes(svg: str, tag: str) -> list[dict[str, str]]:
    """Attributes of every element of a kind; the picture must be well-formed."""
    return [dict(one.attrib) for one in ET.fromstring(svg).iter() if one.tag == tag]


def corners(points: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in points.split())]


def test_a_curve_is_the_mean_within_its_band() -> None:
    svg = curves({"a": Curve([0, 1, 2], [1.0, 2.0, 3.0], [0.0, 1.0, 3.0], [2.0, 4.0, 3.0])}, x="x", y="y", alt="<a>")
    (x0, y0), (x1, y1), (x2, y2) = corners(shapes(svg, "polyline")[0]["points"])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2) and y0 > y1
    band = corners(shapes(svg, "polygon")[0]["points"])
    unit = y0 - y1
    assert band[0][1] == pytest.approx(y0 + unit, abs=0.2)
    assert band[-1][1] == pytest.approx(y0 - unit, abs=0.2)
    assert band[4][1] == pytest.approx(y0 - 3 * unit, abs=0.2)
    assert "&lt;a&gt;" in svg


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e9])
def test_a_curve_of_one_point_or_of_equal_ones_is_drawn(value: float) -> None:
    for length in (1, 3):
        band = [value] * length
        svg = curves({"a": Curve(list(range(length)), band, band, band)}, x="x", y="y", alt="")
        assert "nan" not in svg and "inf" not in svg
        ET.fromstring(svg)


def test_points_stand_by_their_logarithm_with_their_interval() -> None:
    found = [Point(str(i), f"m<{i}", 10.0**i, 0.5 + i / 10, 0.4 + i / 10, 0.6 + i / 10, i == 2) for i in range(3)]
    svg = scatter(found, x="x", y="y", alt="", log=True)
    (first, second), [square] = shapes(svg, "circle"), shapes(svg, "rect")
    across = [float(first["cx"]), float(second["cx"]), float(square["x"]) + 3.5]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2) and across[1] > across[0]
    assert float(first["cy"]) > float(second["cy"])
    bars = [one for one in shapes(svg, "line") if one["x1"] == one["x2"] == first["cx"]]
    assert any(float(bar["y1"]) > float(first["cy"]) > float(bar["y2"]) for bar in bars)
    assert "<title>m&lt;2</title>" in svg


def test_numbers_of_points_at_one_place_stand_apart() -> None:
    svg = scatter([Point(str(i), str(i), 1.0, 1.0, None, None, False) for i in range(6)], x="x", y="y", alt="")
    words = [(one["x"], one["y"]) for one in shapes(svg, "text") if one.get("font-size") == "10"]
    numbers = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="middle" font-size="10">[0-5]</text></g>', svg)
    assert len(set(numbers)) == 6 and set(numbers) <= set(words)


def test_a_radar_goes_from_low_to_high_and_leaves_gaps() -> None:
    svg = radar({"a": [1.0, 0.5, None]}, ["x", "y", "z"], low=0.0, high=1.0, alt="")
    rim = corners(shapes(svg, "polygon")[-1]["points"])
    dots = [(float(dot["cx"]), float(dot["cy"])) for dot in shapes(svg, "circle") if dot["r"] == "2.8"]
    assert len(dots) == 2 and dots[0] == rim[0]
    centre = tuple(sum(corner[i] for corner in rim) / 3 for i in (0, 1))
    assert dots[1] == pytest.approx(tuple((rim[1][i] + centre[i]) / 2 for i in (0, 1)), abs=0.2)
    assert len(shapes(svg, "polyline")) == 1


def test_series_differ_in_more_than_colour() -> None:
    found = styles([f"m{i}" for i in range(8)])
    assert len({style.colour for style in found.values()}) == 8
    assert len({(style.dash, style.mark) for style in found.values()}) == 8
    assert styles(["test", "train"])["train"] == styles(["train"])["train"]
    for style in found.values():
        ET.fromstring(f"<svg>{mark(style, 1, 2)}</svg>")


def test_long_legends_wrap_and_long_names_keep_their_ends() -> None:
    parts, height = legend(["a" * 30, "b" * 30, "c"])
    assert height == legend(["c"])[1] + 16 and "".join(parts).count("<text") == 3
    assert legend([]) == ([], 0)
    name = cut("harmonrank+label_aggregation-no_gate")
    assert len(name) == 22 and name.startswith("harmonrank") and name.endswith("-no_gate") and "…" in name
    assert cut("emer") == "emer"


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.52, 0.61) == [0.525, 0.55, 0.575, 0.6]
    assert ticks(-1.0, 1.0) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert nice(10.0) == [0.0, 2.5, 5.0, 7.5, 10.0]
    assert ticks(3.0, 3.0) == [3.0] and decades(20, 300) == [10.0, 100.0, 1000.0]
    assert [diverging(v) for v in (0.0, 1.0, 5.0, -1.0)] == ["#ffffff", "#f0963c", "#f0963c", "#5fa5e1"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.25", ".25"),
        ("+0.250", "+.250"),
        ("-0.25", "-.25"),
        ("-10.83", "-10.83"),
        ("+20.04", "+20.04"),
        ("1.5", "1.5"),
    ],
)
def test_only_a_zero_that_stands_alone_before_the_point_is_left_out(text: str, shown: str) -> None:
    assert bare(text) == shown
