"""Measure the scene flow methods beside OpenCV's on pairs with known motion, and print Markdown tables.

    python scripts/bench/flow.py --out runs/flow.md --picture runs/flow.png

Runs on machines without Open3D, PyAV and decord; without OpenCV's contrib modules three rows are left out. On a CPU
OpenCV's DualTVL1, DenseRLOF and DeepFlow take up to a second a pair: --methods names what to measure.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", nargs=2, type=int, default=[240, 320], metavar=("HEIGHT", "WIDTH"))
    options.add_argument("--scenes", nargs="+", default=["hand", "mid", "fast"], help="default: hand mid fast")
    options.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="a pair each per scene, default: 0 1 2"
    )
    options.add_argument("--repeats", type=int, default=3, help="timed calls per pair (slow methods: one)")
    options.add_argument("--methods", nargs="+", help="ours and baselines by name, default: all")
    options.add_argument("--backends", nargs="+", help="of our methods, default: all")
    options.add_argument("--parts", nargs="+", help="clean noisy stream memory start gpu, default: all")
    options.add_argument(
        "--device", choices=["cpu", "cuda"], help="cpu hides the GPU from every method; default: as it is"
    )
    options.add_argument("--threads", type=int, help="CPU threads of OpenCV, torch and numba, default: theirs")
    options.add_argument("--out", type=Path, help="also write the tables to this file")
    options.add_argument("--picture", type=Path, help="write the flows of the first scene's first pair to this file")
    return options


def main() -> int:
    arguments = parser().parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    from vidaff.errors import VidaffError
    from vidaff.flow3d.analytic import make_pair
    from vidaff.flow3d.bench import PARTS, choose, report, use_threads, write_picture
    from vidaff.io import write_text

    size = (arguments.size[0], arguments.size[1])
    try:
        if arguments.threads is not None:
            use_threads(arguments.threads)
        entries, notes = choose(arguments.methods, arguments.backends)
        text = report(
            entries,
            scenes=arguments.scenes,
            size=size,
            seeds=arguments.seeds,
            repeats=arguments.repeats,
            parts=arguments.parts or PARTS,
            notes=notes,
        )
        print(text)
        if arguments.out:
            write_text(arguments.out, text)
        if arguments.picture:
            write_picture(
                arguments.picture, entries, make_pair(arguments.scenes[0], size=size, seed=arguments.seeds[0])
            )
    except (VidaffError, ValueError) as error:
        print(f"flow.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
