"""No test writes into the history of whoever runs it."""

import os

os.environ["PARITY_HISTORY"] = "none"
