"""The example of a package that vitbench gates: its verdict, its CI files, and a slowdown that is stopped there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "smallvit"
WORKFLOW = EXAMPLE / ".github" / "workflows" / "vitbench.yml"
PIPELINE = EXAMPLE / ".gitlab-ci.yml"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a repository of its own, cloned from where its main branch is."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "origin", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "smallvit"]):
        identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
        subprocess.run(["git", "-C", str(folder / "origin"), *identity, *command], check=True)
    subprocess.run(["git", "clone", "-q", str(folder / "origin"), str(folder / "clone")], check=True)
    return folder / "clone"


def environment(clone: Path, **more: str) -> Mapping[str, str]:
    """In which the package is found as if it were installed, and bases install without a network."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(clone / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "XDG_CACHE_HOME": str(clone.parent / "cache"),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as: without isolation
        "PIP_NO_INDEX": "1",
        **more,
    }


@pytest.mark.parametrize(("file", "schema"), [(WORKFLOW, "vendor.github-workflows"), (PIPELINE, "vendor.gitlab-ci")])
def test_ci_files_are_what_their_servers_take(file: Path, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("job", ["exact", "paired"])
def test_both_ci_files_run_the_same_commands(job: str) -> None:
    """But for where each keeps its summary, and what it calls the main branch."""
    workflow, pipeline = yaml.safe_load(WORKFLOW.read_text()), yaml.safe_load(PIPELINE.read_text())
    github = [line for step in workflow["jobs"][job]["steps"] for line in step.get("run", "").splitlines()]
    gitlab = [*pipeline["default"]["before_script"], *pipeline[job]["script"]]
    assert [line.replace('"$GITHUB_STEP_SUMMARY"', "gate.md").strip() for line in github] == [
        line.replace("origin/$CI_DEFAULT_BRANCH", "origin/main").strip() for line in gitlab
    ]


def test_the_exact_job_passes_on_main_and_writes_its_files(clone: Path) -> None:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["exact"]["steps"]
    commands = [step["run"] for step in steps if "run" in step and step["name"] != "Install"]
    assert len(commands) == 4
    summary = clone.parent / "summary.md"
    env = environment(clone, GITHUB_STEP_SUMMARY=str(summary), GITHUB_ACTIONS="true")
    for command in commands:
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=clone, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "### vitbench gate: PASS" in summary.read_text()
    suite = ET.fromstring((clone / "gate.xml").read_text())[0]
    assert int(suite.get("tests", "0")) >= 2
    assert suite.get("failures") == "0"


FORWARD = "self.head(self.norm(self.blocks(tokens + self.positions))[:, 0])"
SLOWER = "self.head(self.norm(self.blocks(tokens + self.positions))[:, 0] + 0 * self.blocks[9](tokens)[:, 0])"
_WITHIN_REACH = 0.025  # where the gate itself says that it could have seen so little, it has to decide
PAIRED = [
    "paired",
    "--head",
    "smallvit",
    "--base-rev",
    "HEAD",
    "--model",
    "Ti/16@64,depth=20",
    "--batch",
    "2",
    "--min-change",
    "3",
    "--max-seconds",
    "240",
]


@pytest.mark.parametrize(("planted", "expected"), [(False, "PASS"), (True, "REGRESSION")])
def test_a_twentieth_more_work_is_stopped_and_an_identical_copy_passes(
    clone: Path, planted: bool, expected: str
) -> None:
    """One of twenty blocks runs twice: 5 % slower. Both by the command itself, base installed from its revision."""
    model = clone / "src" / "smallvit" / "model.py"
    text = model.read_text()
    assert FORWARD in text
    try:
        model.write_text(text.replace(FORWARD, SLOWER) if planted else text)
        command = [sys.executable, "-m", "vitbench.gate", *PAIRED, "--junit", "paired.xml", "-o", "paired.json"]
        done = subprocess.run(command, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False)
    finally:
        model.write_text(text)
    told = done.stdout + done.stderr
    (finding,) = json.loads((clone / "paired.json").read_text())["findings"]
    if done.returncode == 3 and finding["least_detectable"] > _WITHIN_REACH:  # else noise is no excuse
        pytest.skip(f"too noisy a machine to tell within four minutes: {told[-600:]}")
    assert done.returncode == (1 if planted else 0), told
    assert expected in done.stdout
    failures = ET.fromstring((clone / "paired.xml").read_text())[0].get("failures")
    assert failures == ("1" if planted else "0")
