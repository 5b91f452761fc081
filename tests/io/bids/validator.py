"""bids-validator-deno without network: its schema lies in its package, and Deno denies it the rest."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest


def errors(root: Path) -> list[tuple[str, str]]:
    """What the validator finds wrong with the data set in ``root``: (code and field, path within).

    The test is skipped where the validator is not installed.
    """
    pytest.importorskip("deno")
    spec = find_spec("bids_validator_deno")
    if spec is None or spec.origin is None:
        pytest.skip("needs bids-validator-deno")
    from deno import find_deno_bin

    script = Path(spec.origin).with_name("bids-validator.js")
    rights = ["--no-prompt", "--no-remote", "--deny-net", "--allow-read", "--allow-env"]
    command = [find_deno_bin(), "run", *rights, script, "--format", "json", root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["totalFiles"] > 0
    return sorted(
        (" ".join(filter(None, (each["code"], each.get("subCode")))), each["location"])
        for each in found["issues"]["issues"]
        if each["severity"] == "error"
    )
