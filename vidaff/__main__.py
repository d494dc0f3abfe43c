"""``python -m vidaff``: the same as the ``vidaff`` command."""

from vidaff.cli import main

main()
