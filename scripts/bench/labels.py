"""Measure the engine under `vidaff label`, and the networks that it runs, and print Markdown tables.

    python scripts/bench/labels.py --out runs/labels.md
    python scripts/bench/labels.py --parts cost wait ray       # Ray must be installed
    python scripts/bench/labels.py --parts models --threads 2 --models vlpart vlpart-fp32 sam-b
    python scripts/bench/labels.py --parts models --device cuda

The clock's columns hold what other programs take of the machine; see vidaff/labels/engine/bench.py and
vidaff/labels/bench_models.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=256, help="default: 256")
    options.add_argument("--milliseconds", type=float, default=50.0, help="of work a picture, default: 50")
    options.add_argument("--repeats", type=int, default=3, help="turns; medians are printed, default: 3")
    options.add_argument(
        "--parts",
        nargs="+",
        default=["cost", "wait", "burn"],
        choices=["cost", "wait", "burn", "ray", "models"],
        help="default: cost wait burn; models: networks at full size, random weights, minutes",
    )
    options.add_argument("--models", nargs="+", metavar="MODEL", help="which networks, default: all")
    options.add_argument("--threads", type=int, help="of torch for the networks, default: its own choice")
    options.add_argument("--device", default="cpu", help="of the networks: cpu or cuda, default: cpu")
    options.add_argument("--out", type=Path, help="also write the tables to this file")
    return options


def main() -> int:
    arguments = parser().parse_args()

    from vidaff.errors import VidaffError
    from vidaff.io import write_text
    from vidaff.labels.bench_models import NAMES, models_table
    from vidaff.labels.engine.bench import report

    try:
        text = report(
            pictures=arguments.pictures,
            milliseconds=arguments.milliseconds,
            repeats=arguments.repeats,
            parts=arguments.parts,
        )
        if "models" in arguments.parts:
            text += "\n" + models_table(
                arguments.models or NAMES,
                threads=arguments.threads,
                device=arguments.device,
                repeats=arguments.repeats,
            )
        print(text)
        if arguments.out:
            write_text(arguments.out, text)
    except VidaffError as error:
        print(f"labels.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
