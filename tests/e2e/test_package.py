"""The wheel works by itself: configs inside, `emer` on the path, from any folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (path,) = target.glob("emer-*.whl")
    return path


def test_the_wheel_carries_configs_and_nothing_of_the_tests(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packed = {n.removeprefix("emer/conf/") for n in names if n.startswith("emer/conf/")}
    on_disk = {p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*.yaml")}
    assert packed == on_disk
    assert "hydra_plugins/emer_ask_tell/sweeper.py" in names
    assert not [n for n in names if n.startswith(("tests", "outputs", "experiments"))]


def test_emer_train_from_the_wheel_in_any_folder(wheel, tmp_path, environment) -> None:
    """A fresh environment that has the dependencies and, of this project, the wheel alone."""
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    # A path in a .pth file brings the installed dependencies, but not the editable install of this checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    installer = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", str(python)]
    subprocess.run([*installer, str(wheel)], check=True, capture_output=True, text=True)

    where = subprocess.run(
        [str(python), "-c", "import emer; print(emer.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert str(packages) in where.stdout
    done = subprocess.run(
        [str(home / "bin" / "emer"), "train", "experiment=tiny", "trainer.max_epochs=1", "logger=none"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert (folder / "metrics.json").is_file()
    assert folder.is_relative_to(tmp_path / "outputs")
