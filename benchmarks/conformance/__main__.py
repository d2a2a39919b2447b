"""Run `python -m benchmarks.conformance`: make layouts, read them with all readers, update docs/conformance.md.

It exits with 1 if jp2batch returns wrong samples, crashes or hangs.
"""

import argparse
import sys

from benchmarks.conformance.canvas import QUICK_SIZE, Canvas
from benchmarks.conformance.drawing import SIGNS
from benchmarks.conformance.layouts import groups
from benchmarks.conformance.page import sections, write
from benchmarks.conformance.peers import PEERS
from benchmarks.conformance.survey import Row, survey


def main() -> None:
    """Compare readers of JPEG 2000 on many layouts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=main.__doc__)
    parser.add_argument("--layouts", default="", metavar="REGEX", help="only layouts with such names; prints the page")
    parser.add_argument("--readers", default=",".join(PEERS), help="some of them, by commas; prints the page")
    parser.add_argument("--quick", action="store_true", help="small images, no web server; prints the page")
    parser.add_argument("--jobs", type=int, default=2, help="layouts at once")
    options = parser.parse_args()
    readers = options.readers.split(",")
    if unknown := set(readers) - set(PEERS):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    chosen = [group for group in (group.matching(options.layouts) for group in groups()) if group.layouts]
    canvas = Canvas(QUICK_SIZE) if options.quick else Canvas()
    rows = []
    for row in survey(chosen, canvas, readers, remote=not options.quick, jobs=options.jobs):
        print(_line(row), file=sys.stderr, flush=True)
        rows.append(row)
    if options.quick or options.layouts or readers != list(PEERS):
        print(*sections(chosen, rows, readers).values(), sep="\n\n")
    else:
        write(chosen, rows, readers)
    if faults := [row.layout.name for row in rows if _is_faulty(row)]:
        sys.exit(f"jp2batch is wrong, crashes or hangs: {'; '.join(faults)}")


def _line(row: Row) -> str:
    cells = (
        f"{reader} {''.join(SIGNS[verdict.kind] for verdict in found.values())}"
        for reader, found in row.verdicts.items()
    )
    return f"{row.layout.name}: {'  '.join(cells) or 'not made'}"


def _is_faulty(row: Row) -> bool:
    verdicts = [*row.verdicts.get("jp2batch", {}).values()]
    verdicts += [transfer.verdict for reader, transfer in row.transfers.items() if reader == "jp2batch"]
    return any(verdict.kind in {"wrong", "crashed", "hung"} for verdict in verdicts)


if __name__ == "__main__":
    main()
