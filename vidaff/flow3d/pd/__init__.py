"""PD-Flow: primal-dual RGB-D scene flow (Jaimez et al., ICRA 2015), with a torch and a numba backend."""
