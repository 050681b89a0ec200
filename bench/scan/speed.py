"""`python -m bench.scan.speed FOLDER…`: seconds of a cold and of an unchanged scan, for 100,000 lines, and memory."""

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kedge.discovery.scanning import Scan, scan


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan each folder with its tests, twice, with an empty cache."""
    parser = argparse.ArgumentParser(prog="python -m bench.scan.speed", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    print(f"{'lines':>9}{'sites':>7}{'cold s':>9}{'per 100k':>10}{'unchanged s':>13}{'peak MB':>9}  folder")
    for folder in options.folders:
        with tempfile.TemporaryDirectory() as cache:
            cold, found = _timed(folder, cache)
            unchanged, again = _timed(folder, cache)
        if again != found:
            print(f"{folder}: the second scan differs")
            return 1
        share = cold * 100_000 / max(found.lines, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{found.lines:>9,}{len(found.sites):>7}{cold:>9.2f}{share:>10.2f}{unchanged:>13.2f}{peak:>9,}  {folder}")
    return 0


def _timed(folder: Path, cache: str) -> tuple[float, Scan]:
    """Return the processor seconds of a scan, and what it found."""
    began = time.process_time()
    found = scan(folder, tests=True, cache=cache)
    return time.process_time() - began, found


if __name__ == "__main__":
    raise SystemExit(main())
