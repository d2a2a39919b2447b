"""What the texts show is run: each snippet, each command."""

import os
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from servers import S3_PUBLIC_BUCKET

from jp2batch.cli import main

ROOT = Path(__file__).resolve().parents[1]
README, CONTRIBUTING, CI = (
    ROOT.joinpath(name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", ".ci/run")
)
BUCKET = "s3://bucket/"
"""Where the README's images in a store are."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    return "".join(blocks(text, "bash")).splitlines()


SET_UP = [command for command in commands(README) if command.startswith("python3 -m venv ")]
OTHERS = [command for command in commands(README) if command not in SET_UP]


def run(command: str, folder: Path, **settings: str) -> None:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace(BUCKET, f"s3://{S3_PUBLIC_BUCKET}/")],
        cwd=folder,
        env=os.environ | {"PATH": path} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder where the README's first command has been run, but for the set-up."""
    folder = tmp_path_factory.mktemp("readme")
    run(SET_UP[0].partition("pip install . && ")[2].replace(".venv/bin/", ""), folder)
    run(OTHERS[0], folder)  # makes the product that all others read
    images = sorted(map(str, folder.glob("scenes/**/*_B0*.jp2")))
    (folder / "scenes.txt").write_text("\n".join(images))
    return folder


@pytest.fixture
def bucket(folder, s3_server) -> dict[str, str]:
    """Put the README's image into a store, and return the settings that let it be found there."""
    (image,) = folder.glob("scenes/**/*_B08_10m.jp2")
    s3_server.put("B08_10m.jp2", image.read_bytes(), S3_PUBLIC_BUCKET)
    return {"AWS_ENDPOINT_URL": s3_server.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


def test_the_first_command_makes_a_picture(folder):
    with Image.open(folder / "jp2batch-demo" / "contact-sheet.png") as picture:
        assert picture.width > 4 * 200


@pytest.mark.seaweedfs
def test_snippets_run_one_after_the_other(folder, bucket, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        exec(block.replace(BUCKET, f"s3://{S3_PUBLIC_BUCKET}/"), names)
    assert names["image"].dims == ("y", "x")
    assert names["corner"].shape == (200, 300)
    assert names["public"].shape == (69, 69)
    assert list(names["answer"]) == ["img_data", "shape", "time_download", "time_processing"]
    assert re.search(r"rlevel 9.*\n\[69, 69\] ", capsys.readouterr().out, re.DOTALL)
    assert len(names["report"]) > 8
    assert names["report"].failed == []


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=pytest.mark.seaweedfs if "s3://" in one else ()) for one in OTHERS[1:]]
)
def test_commands_run(command, folder, request):
    assert command.startswith("jp2batch ")
    run(command, folder, **(request.getfixturevalue("bucket") if "s3://" in command else {}))


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_told_of(name):
    assert re.search(rf"\bjp2batch {name}\b", README)
    assert f"`{name}`" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_within_the_tree_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", README + CONTRIBUTING)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_takes_the_two_commands_from_the_readme():
    assert len(SET_UP) == 2
    assert "grep '^python3 -m venv ' README.md" in CI
    assert not [command for command in SET_UP if command in CI]


def test_contributing_names_what_there_is():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.findall(r'pip install (?:-e )?"\.\[(\w+)\]"', README + CONTRIBUTING + CI)
    assert set(asked) <= set(extras)
    assert commands(CONTRIBUTING)[-1] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert all((ROOT / name).exists() for name in re.findall(r"`((?:tests|jp2batch)/\S+\.py)`", CONTRIBUTING))


@pytest.mark.parametrize("name", ["", *sorted(main.commands)])
def test_every_command_has_help_with_an_example(name):
    done = CliRunner().invoke(main, [*filter(None, [name]), "-h"])
    assert done.exit_code == 0
    examples = done.output.partition("Examples:\n")[2]
    assert examples.strip().startswith(f"jp2batch {name}")
