"""Pseudo-labels: part detectors, segmenters, the steps that make labels of them, and the engines that run the steps."""
