"""The map of the house in CONTRIBUTING.md is the code's: every room has a floor and imports from below it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "emer"


def floors() -> dict[str, int]:
    """Room -> floor, from the table."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+?) \|", text, re.M)
    rooms = [(room, int(floor)) for floor, cell in rows for room in re.findall(r"`(\w+)`", cell)]
    assert len(dict(rooms)) == len(rooms), "a room stands in the table twice"
    return dict(rooms)


def imports_of(path: Path) -> set[str]:
    """Rooms that a file imports from."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("emer.")}


def test_every_room_has_a_floor() -> None:
    there = {path.stem for path in HOUSE.iterdir() if path.suffix in ("", ".py") and not path.name.startswith("_")}
    assert set(floors()) == there


def test_rooms_import_from_below() -> None:
    floor = floors()
    wrong = []
    seen = 0
    for path in sorted(HOUSE.rglob("*.py")):
        room = path.relative_to(HOUSE).parts[0].removesuffix(".py")
        for other in imports_of(path) - {room}:
            seen += 1
            both_on_the_ground = floor[other] == 0 and floor.get(room) == 0
            if not both_on_the_ground and floor[other] >= floor[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports emer.{other}")
    assert wrong == []
    assert seen > 50
