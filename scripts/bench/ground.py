"""Measure the grounding network at full size and print a Markdown table.

python scripts/bench/ground.py --threads 2 --out runs/bench-ground.md
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--repeats", type=int, default=10, help="timed rounds")
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"], help="default: all there are")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's choice")
    parser.add_argument("--compile", action="store_true", help="also torch.compile; takes minutes and a C++ compiler")
    arguments = parser.parse_args()

    import torch

    from vidaff.bench import table
    from vidaff.bench_ground import run

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    devices = arguments.devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = [
        row for device in devices for row in run(repeats=arguments.repeats, device=device, compiled=arguments.compile)
    ]
    text = table(rows)
    print(text)
    if arguments.out:
        from vidaff.io import write_text

        write_text(arguments.out, text)


if __name__ == "__main__":
    main()
