"""Nothing is fetched: isolated.py, run in a network namespace, where every address leads to a listening neighbour."""

import os
import subprocess
import sys

import pytest

from tests.support.server import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_no_input_makes_the_server_connect_or_open_a_file_outside() -> None:
    # Only root may make a network namespace, or somebody who is root in a user namespace.
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    assert probe.returncode == 0, (
        f"this test needs a network namespace, and `{' '.join(unshare)}` failed ({probe.stderr.strip()}): run it as "
        "root, or allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [*unshare, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/server/isolated.py"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert "9 passed" in done.stdout
