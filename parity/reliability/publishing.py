"""Writing reports and history again and again: ``python -m parity.reliability.publishing``.

A process to be killed while it writes; a run spends a twentieth of its time on that.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from parity.history.recording import remember
from parity.report.rows_io import read_json
from parity.runs import publish


def main(rows: Path, reports: Path, history: str, count: int) -> None:
    """Publish the run in ``rows`` so many times, as runs of now, and record each."""
    found = read_json(rows)
    for number in range(count):
        when = datetime.now(timezone.utc).isoformat()
        facts = {**found.provenance, "when": when, "commit": f"{number}"}
        result = replace(found, provenance=facts)
        publish(result, reports)
        remember(result, history, (), lambda line: print(line, file=sys.stderr))
        print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
