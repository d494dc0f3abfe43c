"""The steps of the labelling, each a work of :mod:`vidaff.labels.engine`: pictures in, files and records out."""
