"""Measure the video branch and print a Markdown table.

    python scripts/bench/video.py --out runs/bench.md

Runs on machines without Open3D, PyAV and decord. The full-size network takes about 164 GMAC a frame: on a CPU keep
--repeats small.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument(
        "--repeats", type=int, default=3, help="timed runs of the full-size step (small: 10 times more)"
    )
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"], help="default: all there are")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's choice")
    parser.add_argument("--checkpoint", help="measure this small model instead of random weights")
    parser.add_argument("--data", type=Path, help="prepared file for the loader, default: made-up clips")
    parser.add_argument("--skip", nargs="*", choices=["full", "small"], default=[], help="leave a model out")
    arguments = parser.parse_args()

    import torch

    from vidaff.bench import run, table

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    devices = arguments.devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = run(
        repeats=arguments.repeats,
        full="full" not in arguments.skip,
        small="small" not in arguments.skip,
        checkpoint=arguments.checkpoint,
        data=arguments.data,
        devices=tuple(devices),
    )
    text = table(rows)
    print(text)
    if arguments.out:
        from vidaff.io import write_text

        write_text(arguments.out, text)


if __name__ == "__main__":
    main()
