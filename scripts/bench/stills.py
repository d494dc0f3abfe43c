"""Measure the reading and scoring of still pictures and print a Markdown table.

    python scripts/bench/stills.py --out runs/bench-stills.md
    python scripts/bench/stills.py --data part-affordance-dataset

Renders 260 frames of 640x480 first when no tree is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="tree of UMD, default: rendered frames")
    parser.add_argument("--processes", type=int, default=2, help="that load, default: 2")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, default: 5")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()

    from vidaff.bench import table
    from vidaff.bench_stills import run
    from vidaff.errors import VidaffError
    from vidaff.io import write_text

    try:
        text = table(run(data=arguments.data, processes=arguments.processes, repeats=arguments.repeats))
        print(text)
        if arguments.out:
            write_text(arguments.out, text)
    except VidaffError as error:
        print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
