"""What a model of SOR3D-AFF says of objects it never saw: static inference on UMD and IIT-AFF (``vidaff transfer``).

* :mod:`~vidaff.transfer.mapping`: what its classes mean in the words of the other set;
* :mod:`~vidaff.transfer.views`: which part of a picture it sees, and at what scale;
* :mod:`~vidaff.transfer.runner`: class probabilities of still pictures;
* :mod:`~vidaff.transfer.scores`: numbers where the label sets meet;
* :mod:`~vidaff.transfer.grid`, :mod:`~vidaff.transfer.tables`: pictures and tables of the results;
* :mod:`~vidaff.transfer.job`: all of it in one call.

Source: Thermos et al., ICASSP 2020, section 4.3 and figure 4, where the results are pictures alone.
"""

from vidaff.transfer.job import TransferResult, TransferSettings, transfer
from vidaff.transfer.mapping import ClassMapping, load_mapping

__all__ = ["ClassMapping", "TransferResult", "TransferSettings", "load_mapping", "transfer"]
