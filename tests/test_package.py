"""The package as a stranger gets it: a wheel, in a fresh environment, run from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import sctd

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sctd"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a stranger would: nothing of this checkout on the import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )


def succeed(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


def fresh_environment(folder: Path) -> Path:
    """A virtual environment with nothing in it; returns its folder of executables."""
    succeed(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def pip_install(executables: Path, *what: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    python = executables / "python"
    return run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what, cwd=cwd)


def assert_sctd_works(executables: Path, elsewhere: Path) -> None:
    where = succeed(executables / "python", "-c", "import sctd; print(sctd.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(executables.parent), "not the wheel's copy"
    assert sctd.__version__ in succeed(executables / "sctd", "--version", cwd=elsewhere)
    verbs = succeed(executables / "sctd", "--help", cwd=elsewhere)
    for verb in ("prepare", "pretrain", "export", "fill", "demo"):
        assert verb in verbs


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = {name for name in names if not name.endswith("/")}
    in_source = {
        f"sctd/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix in {".py", ".yaml", ".typed"}
    }
    assert "sctd/py.typed" in files
    assert in_source <= files
    assert any(name.startswith("sctd/") and name.endswith(".yaml") for name in files), "no recipe"
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in files)
    outside = {name for name in files if not name.startswith(("sctd/", f"sctd-{sctd.__version__}.dist-info/"))}
    assert not outside
    assert not [name for name in files if Path(name).name.startswith("test_") or name.endswith(".pyc")]


def test_the_installed_wheel_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    executables = fresh_environment(tmp_path / "venv")
    installed = pip_install(executables, "--no-deps", "--no-index", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    # The running environment lends its dependencies. A .pth file appends a folder without reading the .pth
    # files in there, so an editable sctd of the running environment stays out of sight.
    own = succeed(executables / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(own.strip(), "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert_sctd_works(executables, elsewhere)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_clean_install_brings_every_dependency(wheel: Path, tmp_path: Path) -> None:
    executables = fresh_environment(tmp_path / "venv")
    if pip_install(executables, "mdurl", cwd=tmp_path).returncode:
        pytest.skip("no package index is reachable: pip could not install even the small package mdurl")
    for what in ("torch==2.13.0", wheel):
        installed = pip_install(executables, what, cwd=tmp_path)
        assert installed.returncode == 0, installed.stderr
    assert_sctd_works(executables, tmp_path)


def test_the_licence_is_whole() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_citation_names_this_version_and_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == sctd.__version__
    preprints = [paper["identifiers"][0]["value"] for paper in citation["references"]]
    assert preprints == ["arXiv:2203.13240", "arXiv:2305.15273"]


def test_the_changelog_names_this_version() -> None:
    assert f"## {sctd.__version__}" in (ROOT / "CHANGELOG.md").read_text()
