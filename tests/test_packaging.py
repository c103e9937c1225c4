"""What a user installs: one top-level name, suites that run from anywhere, an editable install that finds everything."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ONE_CHECK = ("-k", "VIT-PATCH-COUNT", "--impl", "reference", "-q", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, so that building leaves no traces in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(sources))
    (built,) = folder.glob("*.whl")
    return built


def run(*arguments: str, python: str = sys.executable, cwd: Path | None = None, path: Path | None = None) -> str:
    """The output of a Python command that must succeed, with nothing but ``path`` before the installed packages."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd or Path.home()), "COLUMNS": "120"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def borrow_packages(site: Path) -> None:
    """What is installed here serves there too, so that nothing is downloaded; but for vitbench itself."""
    for folder in filter(lambda entry: entry.endswith("site-packages"), sys.path):
        for package in Path(folder).iterdir():
            if not package.name.startswith(("vitbench", "__editable__")) and not (site / package.name).exists():
                (site / package.name).symlink_to(package)


def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"vitbench"}


def test_the_wheel_has_every_module_and_template_and_no_test(wheel: Path, sources: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    homes = {
        "vitbench": "vitbench",
        "examples": "vitbench/examples",
        "reference": "vitbench/reference",
        "suites": "vitbench/suites",
        "reports": "vitbench/reports",
    }
    for folder, home in homes.items():
        for source in (sources / folder).rglob("*"):
            apart = {"published", "smallvit"} & set(source.parts)  # results, and a package of its own
            if source.is_file() and not apart:
                assert f"{home}/{source.relative_to(sources / folder).as_posix()}" in names
    assert not [name for name in names if "tests/" in name]


def test_the_suite_runs_by_name_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)  # built a moment ago
    where = run("-c", "import vitbench; print(vitbench.__file__)", cwd=empty, path=site)
    assert where.startswith(str(site))
    output = run("-m", "pytest", "--pyargs", "vitbench.suites.conformance", *ONE_CHECK, cwd=empty, path=site)
    assert "1 passed" in output


def test_a_wheel_serves_a_checkout_that_is_the_working_folder(wheel: Path, sources: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)  # built a moment ago
    output = run("-m", "pytest", "suites/conformance", *ONE_CHECK, cwd=sources, path=site)
    assert "1 passed" in output


def test_an_editable_install_runs_the_suite_both_ways(sources: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(sources, checkout)
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = str(home / "bin" / "python")
    (site,) = home.glob("lib/python*/site-packages")
    borrow_packages(site)
    run("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(checkout))
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run("-c", "import vitbench.reference.vit as v; print(v.__file__)", python=python, cwd=empty)
    assert where.startswith(str(checkout))
    assert "1 passed" in run("-m", "pytest", "suites/conformance", *ONE_CHECK, python=python, cwd=checkout)
    assert "1 passed" in run(
        "-m", "pytest", "--pyargs", "vitbench.suites.conformance", *ONE_CHECK, python=python, cwd=empty
    )


def test_the_console_script_has_the_verbs(tmp_path: Path) -> None:
    output = run("-m", "vitbench", "--help", cwd=tmp_path)
    assert {"run", "report"} <= set(output.split())
