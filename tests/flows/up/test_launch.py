"""A process loads what it needs: each library below costs 2 to 35 MB in every process that has it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.up.supervisor import FLOW_PROCESSES, SANDBOX

HEAVY = "aiosmtplib bytewax confluent_kafka cryptography jinja2 numpy phonenumbers pyarrow redis rocksdict wreq".split()
NEEDED = {
    "transactional": "aiosmtplib bytewax cryptography jinja2 numpy wreq",
    "sequence": "bytewax rocksdict",
    "decide": "bytewax numpy rocksdict",
    "deliver": "aiosmtplib bytewax cryptography jinja2 wreq",
    "inbox": "bytewax numpy pyarrow rocksdict",
    "gateway": "cryptography jinja2 rocksdict",
    "up": "",
    SANDBOX: "cryptography",
}
"""As long as no large fan-out, no number and no question about the ledger comes."""
MODULES = {
    **{process.name: [f"flows.{flow}" for flow in process.flows] for process in FLOW_PROCESSES},
    "gateway": ["flows.gateway"],
    "up": ["flows.cli", "flows.commands.up"],
    SANDBOX: ["connectors.sandbox.__main__"],
}
_TELL = f"print(*(name for name in {HEAVY} if name in sys.modules))"


@pytest.mark.parametrize("process", MODULES)
def test_a_process_loads_what_it_needs(process: str) -> None:
    code = f"import sys, {', '.join(MODULES[process])}; {_TELL}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == NEEDED[process].split()
