"""Run `python -m benchmarks [NAME…]`: measure, print, and update the tables of README.md.

It exits with 1, and lists the figures that miss their limits.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from benchmarks import ROOT
from benchmarks.setting import Setting
from benchmarks.table import circumstances, write_section

BENCHMARKS = {
    "latency": "scaling.latency",
    "images": "scaling.images",
    "batch_overhead": "batch_overhead.measure",
    "batch_memory": "batch_memory.measure",
    "batch_throughput": "batch_throughput.measure",
    "batch_scale": "batch_scale.measure",
    "remote_overviews": "remote_reads.overviews",
    "remote_windows": "remote_reads.windows",
    "remote_places": "remote_reads.places",
    "remote_full": "remote_reads.full",
    "single_tile": "single_tile.measure",
    "tail_latency": "tail_latency.measure",
    "tls": "tls.measure",
    "local_read": "local_read.measure",
    "scaling_tiles": "scaling_tiles.measure",
    "scaling_cubes": "scaling_tiles.cubes",
    "time_series": "time_series.measure",
    "cube": "cube.measure",
    "cube_ndvi": "cube_ndvi.measure",
    "odc_driver": "odc_driver.measure",
    "tiler": "tiler.measure",
    "series_quota": "series_quota.measure",
    "extract": "extract.measure",
    "store_limits": "store_limits.measure",
    "object_store": "object_store.measure",
    "service": "service.measure",
    "service_abuse": "service_abuse.measure",
}
"""Benchmarks by name, in the order of the README."""
README = ROOT / "benchmarks" / "README.md"


def main() -> None:
    """Measure jp2batch and its peers in the same run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)}; by default all")
    parser.add_argument("--folder", type=Path, help="where scenes are kept (0.5 GB); by default among temporary files")
    parser.add_argument("--quick", action="store_true", help="small images, once each; the README is left alone")
    parser.add_argument("--print", action="store_true", help="print the tables alone; the README is left alone")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    setting = Setting(options.folder or Path(tempfile.gettempdir(), "jp2batch-benchmarks"), options.quick)
    setting.folder.mkdir(parents=True, exist_ok=True)
    missed: list[str] = []
    for name in options.names or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        module, _, function = BENCHMARKS[name].partition(".")
        table = getattr(importlib.import_module(f"benchmarks.{module}"), function)(setting)
        print(table, flush=True)
        if not (options.quick or options.print):
            write_section(README, name, f"{table}\n\n{circumstances()}")
        missed += [f"{name}: {demand}" for demand in table.demands if not demand.met]
    if missed and not options.quick:  # which measures nothing
        sys.exit("\n".join(["not as demanded:", *missed]))


if __name__ == "__main__":
    main()
