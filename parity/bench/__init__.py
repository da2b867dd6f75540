"""The port's speed and memory against the reference's: ``python -m parity.bench``.

Every contestant is a process of its own, since two frameworks in one process fight over threads.
All run the same item in turn, round after round, and a ratio is taken within a round, so that
whatever else the machine does meets them alike.

    items.py        what is measured, and the goals
    contestants.py  who takes part
    checkpoints.py  random weights of real widths, as checkpoint folders that everybody loads
    worker.py       the process of a contestant; serves what protocol.py asks for
    *_runner.py     one file a framework: how it computes an item (task.py)
    rounds.py       taking turns
    ratios.py       the arithmetic
    table.py        the result, for a terminal, for the README and as JSON
    profiling.py    where the port's time goes

``python -m parity.bench.compare`` measures something else, in one process: what comparing two
tensors costs (compare.py), against the same statistics in plain NumPy (plain.py).
"""
