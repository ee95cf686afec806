"""The OpenAPI document says what the server does: a fuzzer that knows nothing else finds no difference."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.gateway import running, token

EXAMPLES = 5
"""Random requests per call, beside those that try every bound of the document: two thousand, half a minute in all."""
HANGS_AFTER_S = 300


@pytest.mark.timeout(HANGS_AFTER_S + 60)
def test_the_fuzzer_finds_no_error_and_nothing_undescribed(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    config = Path(__file__).with_name("schemathesis.toml")
    with running(tmp_path) as gateway:
        ran = subprocess.run(
            [
                str(program), "--config-file", str(config), "run", f"http://127.0.0.1:{gateway.port}/openapi.json",
                "--max-examples", str(EXAMPLES),
            ],
            cwd=tmp_path, env={**os.environ, "USER_TOKEN": token("anne", lifetime=timedelta(hours=1))},
            capture_output=True, text=True, check=False, timeout=HANGS_AFTER_S,
        )  # fmt: skip
        assert ran.returncode == 0, "\n".join(line[:500] for line in ran.stdout.splitlines()) + ran.stderr[-2_000:]
        assert gateway.process is not None
        assert gateway.process.poll() is None
