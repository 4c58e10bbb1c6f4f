"""The pipelines in docs/ci say what is true: each command in them is one that the programs they call understand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rttcheck.cli import build_parser
from rttcheck.kernels.ci_matrix import GITLAB_TEMPLATE, github, gitlab
from rttcheck.kernels.guest import EXIT_LOST
from rttcheck.kernels.offer import Offer

PROJECT = Path(__file__).parents[3]
CI = PROJECT / "docs/ci"

OFFER = Offer(
    spec="debian:6.12.117+deb13",
    release="6.12.117+deb13-amd64",
    series="6.12",
    flavour="amd64",
    version="6.12.117-1",
    suite="trixie-security",
)
ROW = yaml.safe_load(github([OFFER]))["include"][0]

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def load(name: str) -> dict[str, Any]:
    document = yaml.safe_load((CI / name).read_text())
    assert isinstance(document, dict)
    return document


def github_steps() -> Iterator[dict[str, Any]]:
    for job in load("github.yml")["jobs"].values():
        yield from job["steps"]


def scripts() -> Iterator[str]:
    """Every script of the pipelines as its shell would read it, with a job's values in it."""
    for step in github_steps():
        if "run" in step:
            yield EXPRESSION.sub(lambda found: ROW[found[1].removeprefix("matrix.")], step["run"])
    for name in ("gitlab.yml", "gitlab-kernel.yml"):
        for job in load(name).values():
            if isinstance(job, dict):
                yield "\n".join(job.get("script", ())).replace("$KERNEL", ROW["kernel"])
    page = (PROJECT / "docs/ci.md").read_text()
    for block in re.findall(r"(?m)(?:^    \S.*\n)+", page):
        yield re.sub(r"(?m)^    ", "", block)
    # What stands in the text, unless it is abridged.
    yield from (said for said in re.findall(r"`((?:rttcheck|pytest) [^`…]*)`", page))


def commands(program: str) -> list[list[str]]:
    """The words after each call of `program` in the scripts, up to the shell's own."""
    found = []
    for script in scripts():
        for line in re.sub(r"\\\n", " ", script).splitlines():
            for part in re.split(r"&&|\|\||;|\$\(|\)|>+", line):
                words = shlex.split(part) if part.count('"') % 2 == 0 else []
                names = [Path(word).name for word in words]
                if names[:1] == [program] or names[:3] == ["python", "-m", program]:
                    found.append(words[names.index(program) + 1 :])
    return found


def test_every_rttcheck_command_is_understood() -> None:
    parser = build_parser()
    told = commands("rttcheck")
    assert {" ".join(words[:2]) for words in told} >= {"kernels list", "kernels fetch", "doctor"}
    for words in told:
        assert callable(parser.parse_args(words).run)


def test_every_option_of_pytest_is_one() -> None:
    told = commands("pytest")
    assert len(told) >= 4
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])\b", done.stdout))
    for words in told:
        asked = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert asked <= options
        assert "--rtt-kernel" in asked


def test_every_suite_and_target_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (PROJECT / "Makefile").read_text()))
    assert {word for words in commands("make") for word in words} - {"-qq", "-y"} <= targets
    for words in commands("pytest"):
        assert all((PROJECT / word).is_dir() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize("script", list(scripts()))
def test_every_script_is_one_that_a_shell_can_read(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_githubs_second_job_takes_the_matrix_that_its_first_one_lists() -> None:
    jobs = load("github.yml")["jobs"]
    lister = next(step for step in jobs["kernels"]["steps"] if step.get("id") == "list")
    assert "kernels list --format github" in lister["run"]
    assert 'echo "matrix=$matrix" >> "$GITHUB_OUTPUT"' in lister["run"]
    assert jobs["kernels"]["outputs"] == {"matrix": "${{ steps.list.outputs.matrix }}"}
    assert jobs["judge"]["needs"] == "kernels"
    assert jobs["judge"]["strategy"]["matrix"] == "${{ fromJSON(needs.kernels.outputs.matrix) }}"
    assert jobs["judge"]["strategy"]["fail-fast"] is False


def test_githubs_jobs_use_what_a_row_of_the_matrix_has() -> None:
    used = EXPRESSION.findall((CI / "github.yml").read_text())
    keys = {name.removeprefix("matrix.") for name in used if name.startswith("matrix.")}
    assert keys == {"kernel", "release"}
    assert keys <= ROW.keys()


def test_githubs_actions_have_a_version() -> None:
    uses = [step["uses"] for step in github_steps() if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in uses)


def test_what_is_kept_is_what_was_written() -> None:
    judge = load("github.yml")["jobs"]["judge"]["steps"]
    script = next(step["run"] for step in judge if step.get("name") == "Judge")
    kept = judge[-1]["with"]["path"].split()
    assert judge[-1]["if"] == "always()"
    for file in ("junit-${{ matrix.release }}.xml", "rtt-${{ matrix.release }}.json"):
        assert file in script
    assert EXPRESSION.sub("", judge[-1]["with"]["path"]).split() == ["junit-.xml", "rtt-.json", ".rttcheck/"]
    assert kept[-1] == ".rttcheck/"
    job = load("gitlab-kernel.yml")["rtt"]
    line = job["script"][-1]
    assert all(file in line for file in job["artifacts"]["paths"] if file != ".rttcheck/")
    assert job["artifacts"]["reports"]["junit"] in line
    assert job["artifacts"]["when"] == "always"


def test_a_lost_guest_has_a_status_of_its_own() -> None:
    script = next(step["run"] for step in github_steps() if step.get("name") == "Judge")
    assert f'"$status" -eq {EXIT_LOST}' in script
    assert load("gitlab-kernel.yml")["rtt"]["retry"]["exit_codes"] == EXIT_LOST


def test_gitlabs_second_pipeline_is_whole_with_what_the_first_one_writes() -> None:
    listed = yaml.safe_load(gitlab([OFFER]))
    assert listed == {
        GITLAB_TEMPLATE: {"parallel": {"matrix": [{"KERNEL": OFFER.spec, "RELEASE": OFFER.release}]}},
    }
    first, second = load("gitlab.yml"), load("gitlab-kernel.yml")
    assert second["rtt"]["extends"] == GITLAB_TEMPLATE
    include = first["judge"]["trigger"]["include"]
    assert include == [{"artifact": "kernels.yml", "job": "kernels"}, {"local": "docs/ci/gitlab-kernel.yml"}]
    assert first["judge"]["needs"] == ["kernels"]
    assert first["kernels"]["artifacts"]["paths"] == ["kernels.yml"]
    assert first["kernels"]["script"][-1].endswith("> kernels.yml")
    variables = {*re.findall(r"\$([A-Z]+)\b", (CI / "gitlab-kernel.yml").read_text())}
    assert variables == {"KERNEL", "RELEASE"}


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml", "gitlab-kernel.yml"])
def test_the_page_leads_to_every_file(name: str) -> None:
    assert f"({(CI / name).relative_to(PROJECT / 'docs')})" in (PROJECT / "docs/ci.md").read_text()


def test_the_environments_cache_key_is_what_it_is_made_of() -> None:
    needed = re.search(r"(?m)^\.stamps/venv: (.*)$", (PROJECT / "Makefile").read_text())
    assert needed is not None
    files = needed[1].split()
    keys = [step["with"]["key"] for step in github_steps() if ".venv" in step.get("with", {}).get("path", "")]
    assert keys
    assert all(key.endswith("hashFiles('" + "', '".join(files) + "') }}") for key in keys)
    caches = [load("gitlab.yml")["kernels"]["cache"], load("gitlab-kernel.yml")["rtt"]["cache"][0]]
    assert all(cache["key"]["files"] == files for cache in caches)
