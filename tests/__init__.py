"""The tests, in the folders of the package."""

import os

# Threads of OpenMP spin while they wait for each other: beside other work, training takes minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
