"""What our engines ask of CUDA: the driver's facts (`driver.py`), and the calls of a running engine (`api.py`, `library.py`)."""
