"""What :mod:`vidaff.train` is made of: batches, losses, the Lightning module and its callbacks."""
