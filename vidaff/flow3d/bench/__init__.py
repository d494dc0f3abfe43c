"""Scene flow methods side by side on analytic pairs; ``scripts/bench/flow.py`` prints what is measured here.

Every row of a table saw the same pairs in the same run, calls of different methods taking turns, because on a shared
machine only ratios within a run mean something. A call is timed from colour and depth to metres, preparing both frames
included. Nothing here needs Open3D or PyAV; what OpenCV lacks without its contrib modules is left out with a note.
"""

from vidaff.flow3d.bench.entries import BASELINES, Entry, choose, plain_lift
from vidaff.flow3d.bench.report import PARTS, report, use_threads, write_picture
from vidaff.flow3d.bench.scores import Result, Score, accuracy_table, compare, score, speed_table

__all__ = [
    "BASELINES",
    "PARTS",
    "Entry",
    "Result",
    "Score",
    "accuracy_table",
    "choose",
    "compare",
    "plain_lift",
    "report",
    "score",
    "speed_table",
    "use_threads",
    "write_picture",
]
