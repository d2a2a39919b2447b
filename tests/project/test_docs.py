"""What the texts show is run: each snippet, each command. What is generated in them is current."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import pictures
import pytest
import xarray as xr
from click.testing import CliRunner
from PIL import Image

import jp2batch
from benchmarks.seaweedfs import S3_PUBLIC_BUCKET
from jp2batch.cli import main
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.config import DEFAULTS
from support.services import serving

ROOT = Path(__file__).resolve().parents[2]
README, CONTRIBUTING, CI = (
    ROOT.joinpath(name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", ".ci/run")
)
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))}
TEXTS = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING} | PAGES
BUCKET, SCHEDULER, SERVICE = "s3://bucket", "tcp://scheduler:8786", "http://127.0.0.1:8080"
"""Where the images in a store are, the cluster, and the service, in the texts."""


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Iterate over the blocks that are to be run: language, content; not over those that say why they are not."""
    for excuse, language, block in re.findall(
        r"(<!-- not run: .+? -->\n+)?^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        if not excuse and language in ("bash", "python"):
            yield language, block


STORIES = {name: text for name, text in TEXTS.items() if name != "CONTRIBUTING.md" and any(blocks(text))}
"""The texts whose blocks are run; what CONTRIBUTING tells, `.ci/run` does or is."""
SET_UP = re.findall("^python3 -m venv .*", README, re.MULTILINE)
TWO_DATES = "jp2batch sample scenes --dates 2"
SAMPLE = re.compile(rf"^{TWO_DATES.replace(' --dates 2', '( --dates 2)?')}$", re.MULTILINE)
"""What most texts begin with; it is run once for all of them."""


def run(command: str, folder: Path, settings: dict[str, str]) -> None:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "XDG_CACHE_HOME": str(folder / "cache")} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Return the folder of the products that the texts are about."""
    folder = tmp_path_factory.mktemp("sample")
    run(TWO_DATES, folder, {})
    return folder / "scenes"


@pytest.fixture
def folder(scenes, tmp_path, monkeypatch) -> Path:
    """Go to a folder with these products."""
    shutil.copytree(scenes, tmp_path / "scenes", copy_function=os.link)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bucket(scenes, request) -> dict[str, str]:
    """Put an image into a store, and return the settings that let it be found there."""
    server = request.getfixturevalue("s3_server")
    image = min(scenes.glob("**/*_B08_10m.jp2"))
    server.put("B08_10m.jp2", image.read_bytes(), S3_PUBLIC_BUCKET)
    return {"AWS_ENDPOINT_URL": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def cluster() -> Iterator[str]:
    """Start a cluster, and return its address."""
    with local_cluster(1) as client:
        yield client.scheduler.address


@pytest.mark.seaweedfs
@pytest.mark.parametrize("name", STORIES)
def test_blocks_run_one_after_the_other(name, folder, request, monkeypatch):
    text, settings = STORIES[name], {}
    if TWO_DATES not in text:
        shutil.rmtree(max(folder.glob("scenes/*.SAFE")))
    places = {BUCKET: f"s3://{S3_PUBLIC_BUCKET}"}
    if BUCKET in text:
        settings = request.getfixturevalue("bucket")
    if SCHEDULER in text:
        places[SCHEDULER] = request.getfixturevalue("cluster")
    for setting in settings.items():
        monkeypatch.setenv(*setting)
    names: dict[str, object] = {}
    with contextlib.ExitStack() as stack:
        for language, block in blocks(text):
            for place, real in places.items():
                block = block.replace(place, real)  # noqa: PLW2901
            if language == "python":
                exec(block, names)
            elif block.startswith("jp2batch serve "):
                service = stack.enter_context(serving(*shlex.split(block)[2:], env=settings))
                places[SERVICE] = service.address
            elif not block.startswith("python3 -m venv ") and (commands := SAMPLE.sub("", block).strip()):
                run(commands, folder, settings)
    CLAIMS.get(name, lambda names: None)(names)


def claims_of_readme(names: dict[str, Any]) -> None:
    assert names["image"].dims == ("y", "x")
    assert names["cube"].dims == ("time", "band", "y", "x")
    assert (len(names["report"]), names["report"].failed) == (2, [])
    pictures_made = sorted(Path("pictures").glob("*.png"))
    assert len(pictures_made) == 2
    for path in pictures_made:
        with Image.open(path) as picture:
            assert picture.size == (275, 275)
    assert list(names["answer"]) == ["img_data", "shape", "time_download", "time_processing"]


def claims_of_reading(names: dict[str, Any]) -> None:
    assert names["corner"].shape == (200, 300)
    assert names["reflectance"].dtype == names["by_hand"].dtype == "float32"
    xr.testing.assert_allclose(names["by_hand"], names["reflectance"].drop_attrs(deep=False), rtol=1e-6)
    assert names["series"].radiometric_offset.values.tolist() == -1000
    xr.testing.assert_identical(*(names[name].load().drop_vars("source") for name in ("same", "series")))
    assert names["of_series"].dtype == "float32"
    xr.testing.assert_equal(names["again"].load(), names["cube"].compute())
    assert names["again"].rio.crs == names["cube"].rio.crs
    assert {"colours.png", "b08.nc", "b08.tif"} <= {path.name for path in Path().iterdir()}
    assert names["ndvi"].dims == ("time",)
    assert names["public"].shape == (69, 69)


def claims_of_batches(names: dict[str, Any]) -> None:
    assert len(names["report"]) == 5
    assert [type(result.error).__name__ for result in names["report"].failed] == ["ImageNotFound"]


CLAIMS = {
    "README.md": claims_of_readme,
    "docs/reading.md": claims_of_reading,
    "docs/batches.md": claims_of_batches,
}
"""What is left when a text has been run."""


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"docs/deployment.md"}))  # test_deployment.py runs that
def test_what_is_not_run_says_why(name):
    assert not re.findall(r"(?<!-->\n\n)(?<!-->\n)^```(?:sh|shell|console|zsh)\n", TEXTS[name], re.MULTILINE)


def test_the_first_command_makes_a_picture(tmp_path):
    run(SET_UP[0].partition("pip install . && ")[2].replace(".venv/bin/", ""), tmp_path, {})
    with Image.open(tmp_path / "jp2batch-demo" / "contact-sheet.png") as picture:
        assert picture.width > 4 * 200


@pytest.mark.parametrize("path", generate.PAGES)
def test_generated_pages_are_current(path):
    current = ROOT.joinpath(path).read_text(encoding="utf-8") == generate.PAGES[path]()
    assert current, f"{path} is not what would be generated: run python docs/generate.py"


@pytest.mark.parametrize("path", generate.PICTURES)
def test_pictures_are_of_what_is_read_today(path):
    assert pictures.alike(ROOT / path, generate.PICTURES[path]()), "run python docs/generate.py"


def test_a_picture_that_differs_is_noticed(tmp_path):
    shown = Image.new("RGB", (8, 8), (100, 100, 100))
    Image.new("RGB", (8, 8), (100, 103, 100)).save(tmp_path / "other.png")
    assert not pictures.alike(tmp_path / "other.png", shown)
    assert not pictures.alike(tmp_path / "other.png", Image.new("RGB", (8, 9)))


def test_the_references_have_all_there_is():
    assert set(re.findall(r"^### (\w+)$", PAGES["docs/api.md"], re.MULTILINE)) == set(jp2batch.__all__)
    assert set(re.findall(r"^## jp2batch (\w+)$", PAGES["docs/cli.md"], re.MULTILINE)) == set(main.commands)
    keys = re.findall(r"^## jp2batch\.(\S+)$", PAGES["docs/configuration.md"], re.MULTILINE)
    assert set(keys) == set(DEFAULTS["jp2batch"])


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_told_of(name):
    assert any(re.search(rf"\bjp2batch {name}\b", text) for page, text in TEXTS.items() if page != "docs/cli.md")
    assert f"`{name}`" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*TEXTS, "benchmarks/README.md"])
def test_links_within_the_tree_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", text)
    for link in links:
        path, _, place = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not place or place in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """Return what headings are called in links."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_reached_from_the_index():
    assert all(f"({Path(name).name})" in PAGES["docs/README.md"] for name in PAGES if name != "docs/README.md")


def test_ci_takes_the_two_commands_from_the_readme():
    assert len(SET_UP) == 2
    assert "grep '^python3 -m venv ' README.md" in CI
    assert not [command for command in SET_UP if command in CI]


def test_contributing_names_what_there_is():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.findall(r'pip install (?:-e )?"\.\[(\w+)\]"', CI + "".join(TEXTS.values()))
    assert set(asked) <= set(extras)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    named = re.findall(r"`(?:python )?((?:tests|jp2batch|docs)/\S+?)`", CONTRIBUTING)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["", *sorted(main.commands)])
def test_every_command_has_help_with_an_example(name):
    done = CliRunner().invoke(main, [*filter(None, [name]), "-h"])
    assert done.exit_code == 0
    examples = done.output.partition("Examples:\n")[2]
    assert examples.strip().startswith(f"jp2batch {name}")
