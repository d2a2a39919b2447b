"""A bar where somebody looks at it, and nowhere else."""

import os
import subprocess
import sys

import pytest

import jp2batch
from jp2batch.batch import progress

pty = pytest.importorskip("pty", reason="terminals are those of POSIX")
termios = pytest.importorskip("termios", reason="terminals are those of POSIX")

SCRIPT = "import sys, jp2batch; jp2batch.run(sys.argv[1:])"


@pytest.fixture(scope="module")
def paths(product) -> list[str]:
    return sorted(map(str, product.glob("**/*_60m.jp2")))[:3]


def shown_in_terminal(command: list[str]) -> str:
    """Run a command whose stderr is a terminal; return what that shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # how Linux tells that nobody writes any more
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_a_terminal_shows_how_far_a_batch_is(paths):
    shown = shown_in_terminal([sys.executable, "-c", SCRIPT, *paths])
    assert "3/3" in shown
    assert "item/s" in shown
    assert " of " in shown.rpartition("3/3")[2]  # bytes, against whole files


def test_a_terminal_shows_how_far_a_run_is(paths, tmp_path):
    manifest = tmp_path / "m.txt"
    manifest.write_text("\n".join(paths))
    command = [sys.executable, "-m", "jp2batch", "run", str(manifest), "-o", str(tmp_path / "r.ndjson")]
    assert "3/3" in shown_in_terminal([*command, "--local-threads"])


def test_what_is_no_terminal_is_not_filled_with_bars(paths, capfd):
    jp2batch.run(paths)
    assert capfd.readouterr().err == ""


def test_a_notebook_shows_a_bar_unless_told_not_to(paths, monkeypatch, capfd):
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    jp2batch.run(paths, progress=False)
    assert capfd.readouterr().err == ""
    jp2batch.run(paths)
    assert "3/3" in capfd.readouterr().err
