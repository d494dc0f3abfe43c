"""Ablations: every variant of a study trained by several seeds, scored, and set beside the published numbers.

:mod:`vidaff.ablation.study` says what a study is, :mod:`vidaff.ablation.video` is the one of the video branch,
:mod:`vidaff.ablation.runner` runs it, :mod:`vidaff.ablation.report` writes the tables.
"""

from __future__ import annotations

from vidaff.ablation.runner import RunSettings, run_study
from vidaff.ablation.study import Comparison, Evaluation, Metric, Study, Variant

__all__ = ["Comparison", "Evaluation", "Metric", "RunSettings", "Study", "Variant", "run_study"]
