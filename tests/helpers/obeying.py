"""Waiting until processes know what stands in `control`."""

from pathlib import Path

from helpers.waiting import wait_for

from connectors.control import TOPIC, read_obeyed
from connectors.log.interface import Log


def wait_until_obeyed(data_dir: Path, log: Log) -> None:
    """Until every process that follows `control` says that it read all that stands there now; some process does."""
    end = log.end_offset(TOPIC, 0)

    def obeyed() -> bool:
        reports = read_obeyed(data_dir / "run")
        return bool(reports) and all(report.offset >= end for report in reports)

    wait_for(obeyed, what=f"`control` to be obeyed up to {end}", every_s=0.01)
