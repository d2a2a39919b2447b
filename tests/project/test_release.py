"""The release kit agrees with pyproject.toml, and publishes nothing by itself."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import conda
import nbformat
import pytest
import website
import yaml

from jp2batch.core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, GROUPS = DATA["project"], DATA["dependency-groups"]
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(".github/workflows/*.yml"))}
INDEX_HOST = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|anaconda\.org|deb\.debian\.org", re.IGNORECASE)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parsed(workflow: str) -> dict[Any, Any]:
    return yaml.load(WORKFLOWS[workflow], yaml.BaseLoader)  # `on` is a name, not a truth


def classified() -> list[str]:
    prefix = "Programming Language :: Python :: 3."
    return ["3." + row.removeprefix(prefix) for row in PROJECT["classifiers"] if row.startswith(prefix)]


def lower_bounds(packages: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)(?:;.*)?", package).groups() for package in packages)


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert PROJECT["version"] == __version__ == citation["version"]
    assert (citation["title"], citation["license"]) == (PROJECT["name"], PROJECT["license"])
    assert citation["abstract"] == PROJECT["description"]
    assert f"## {__version__} (" in text("CHANGELOG.md")


def test_the_matrix_has_the_declared_pythons():
    assert parsed("tests")["jobs"]["quick"]["strategy"]["matrix"]["python"] == classified()
    assert PROJECT["requires-python"] == f">={classified()[0]}"
    assert parsed("tests")["jobs"]["oldest"]["steps"][1]["with"]["python-version"] == classified()[0]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_and_jobs_may_do_little(name):
    used = re.findall(r"uses: (\S+)", WORKFLOWS[name])
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert parsed(name)["permissions"] == {}
    assert "secrets." not in WORKFLOWS[name]
    assert all(int(job["timeout-minutes"]) <= 90 for job in parsed(name)["jobs"].values())


def test_only_a_person_publishes():
    assert [*parsed("release")["on"]] == ["workflow_dispatch"]
    assert parsed("release")["jobs"]["publish"]["environment"] == {"name": "release"}
    deploy = parsed("docs")["jobs"]["deploy"]
    assert deploy["if"] == "github.event_name == 'workflow_dispatch'"
    writing = {
        (name, job)
        for name in WORKFLOWS
        for job, steps in parsed(name)["jobs"].items()
        if "write" in steps["permissions"].values()
    }
    assert writing == {("release", "publish"), ("docs", "deploy")}
    others = "".join(found for name, found in WORKFLOWS.items() if name != "release")
    assert not re.search(r"twine upload|gh-action-pypi-publish", others + text(".ci/run"))


def test_the_recipe_has_the_dependencies_of_the_package():
    recipe = yaml.safe_load(text("recipe/recipe.yaml"))
    run = recipe["requirements"]["run"]
    named = {conda.NAMES.get(name, name): bound for name, bound in lower_bounds(PROJECT["dependencies"]).items()}
    named["dask-core"] = named.pop("dask")
    assert {
        name: bound for name, bound in (row.split(" >=") for row in run) if name not in {"python", "openjpeg"}
    } == named
    assert f"hatchling >={DATA['build-system']['requires'][0].partition('>=')[2]}" in recipe["requirements"]["host"]
    assert (recipe["context"]["version"], recipe["about"]["license"]) == (PROJECT["version"], PROJECT["license"])
    assert recipe["build"]["python"]["entry_points"] == ["jp2batch = jp2batch.cli:main"]


def test_the_oldest_versions_are_those_of_pyproject():
    extras = [package for extra in conda.OLDEST for package in PROJECT["optional-dependencies"][extra]]
    pins = dict(line.split("==") for line in text("tests/oldest.txt").splitlines() if not line.startswith("#"))
    assert pins == lower_bounds([*PROJECT["dependencies"], *extras])


def test_groups_named_in_the_texts_exist():
    texts = "".join([text("CONTRIBUTING.md"), text(".ci/run"), text(".pre-commit-config.yaml"), *WORKFLOWS.values()])
    assert set(re.findall(r"--group (\w+)", texts)) == set(GROUPS)


@pytest.mark.parametrize(
    "pattern", ["*.toml", "*.md", "*.cff", ".ci/*", ".github/**/*.yml", "deploy/*", "docs/*", "recipe/*", "tests/*.txt"]
)
def test_no_package_index_has_a_host_here(pattern):
    paths = [path for path in ROOT.glob(pattern) if path.is_file()]
    assert paths
    assert [path for path in paths if INDEX_HOST.search(path.read_bytes().decode(errors="replace"))] == []


def test_the_container_of_the_notebooks_is_no_roots():
    lines = text("deploy/notebooks.Containerfile").splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        line for line in text("deploy/Containerfile").splitlines() if line.startswith("FROM")
    ]
    assert "USER 10001:10001" in lines
    copied = [name for line in lines if line.startswith("COPY") for name in re.sub(r"--\S+", "", line).split()[1:-1]]
    allowed = {line[1:].partition("/")[0] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert set(copied) <= allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_site_has_all_pages_and_what_they_link_to(tmp_path):
    website.copy_pages(tmp_path)
    pages = set(re.findall(r"[\w/-]+\.(?:md|ipynb)", str(website.navigation())))
    copied = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.suffix in {".md", ".ipynb"}}
    assert pages == copied | {"notebooks/README.md"}
    for page in tmp_path.rglob("*.md"):
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"


def test_the_page_of_notebooks_shows_their_first_pictures(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".*"))
    first = min(tmp_path.glob("*.ipynb"))
    notebook = nbformat.read(first, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "AAAA"}) for _ in range(2)]
    nbformat.write(notebook, first)
    page = website.gallery(tmp_path)
    assert [path.name for path in tmp_path.glob("*.png")] == [f"{first.stem}.png"]
    assert page.count("![") == 1
    assert page.count("\n## [") == len([*tmp_path.glob("*.ipynb")])
