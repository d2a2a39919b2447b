"""Put runs to faults, and print what their users saw: `PYTHONPATH=. python tests/fault_matrix.py [WORDS …]`.

Only faults with one of the words in their titles are done. Needs what `support/namespaces.py` needs, and SeaweedFS.
"""

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from support import faults, part_faults, run_faults  # noqa: F401  # they fill the table
from support.site import Site, StoredObject, site
from support.trial import FAULTS, Trial, fill, put_to, reference_of


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


def tell(place: Site, title: str, reference: Mapping[str, StoredObject], number: int) -> bool:
    """Do a fault, resume, print how both went; return whether all was well."""
    trial, start = Trial(place, f"t{number}"), time.monotonic()
    say(f"## {title}")
    try:
        outcome = put_to(title, trial, reference)
    except Exception:  # noqa: BLE001  # the other faults are still to be done
        say(f"   HARNESS: {traceback.format_exc()}")
        return False
    say(f"   saw: {outcome.seen}")
    for note in trial.notes:
        say(f"   note: {note}")
    say(f"   resumed: {outcome.again}; {outcome.kept}")
    for problem in outcome.problems:
        say(f"   PROBLEM: {problem}")
    say(f"   ({time.monotonic() - start:.0f} s)")
    return not outcome.problems


def main(words: list[str]) -> None:
    """Do the faults, and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    titles = [title for title in FAULTS if not words or any(word in title for word in words)]
    with site(folder / "net", fill(folder / "images")) as place:
        reference = reference_of(place)
        well = [tell(place, title, reference, number) for number, title in enumerate(titles)]
    say(f"{sum(well)} of {len(well)} faults without a problem")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
