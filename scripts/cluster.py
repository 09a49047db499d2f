"""`make cluster`: two vLLM replicas of the built-in model on the CPU, vllm-router, and the page that uses them."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a clone, without installing it

from tests.support.cluster import ROOT, Cluster, empty_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--port", default="7860", help="of the page")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the replicas end with this process
    logs = empty_folder(ROOT / "build" / "cluster")
    print(f"Starting {options.replicas} replicas, which takes a minute or two; their logs are in {logs}", flush=True)
    with Cluster(logs, num_replicas=options.replicas) as cluster:
        print(f"The router answers at {cluster.address}", flush=True)
        page = [sys.executable, "-m", "longva_demo", "serve", "--engine", cluster.address, "--port", options.port]
        try:
            subprocess.run(page, check=False, cwd=ROOT)
        except KeyboardInterrupt:
            print("Stopping", flush=True)


if __name__ == "__main__":
    main()
