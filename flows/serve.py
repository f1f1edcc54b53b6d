"""The Prefect UI with the pipeline in it: `make ui`, or `python -m flows.serve`.

Uses the server of PREFECT_API_URL (or of Prefect's active profile) when one is configured; otherwise starts
one on this machine and stops it at the end. Shells that set the printed PREFECT_API_URL have their `dvc
repro` in the same UI.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from flows.tracking import prepare_prefect, tracked
from kpbe.errors import KPBEError

LOCAL_API_URL = "http://127.0.0.1:4200/api"
START_TIMEOUT_S = 120.0


@contextmanager
def prefect_server() -> Iterator[None]:
    """A server on this machine during the block; one that already answers is used and left running.

    Raises:
        KPBEError: the server did not start.
    """
    os.environ["PREFECT_API_URL"] = LOCAL_API_URL
    if _answers(LOCAL_API_URL):
        yield
        return
    server = subprocess.Popen([sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(LOCAL_API_URL):
            if server.poll() is not None or time.monotonic() > deadline:
                raise KPBEError("the Prefect server did not start: see its messages above.")
            time.sleep(1)
        yield
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=2) as reply:
            return reply.status == 200
    except (URLError, TimeoutError, ConnectionError):
        return False


def serve_pipeline() -> None:
    """Serve the pipeline as the deployment `pipeline/kpbe` until interrupted."""
    from prefect import serve
    from prefect.types.entrypoint import EntrypointType

    from flows.pipeline_flow import pipeline_flow

    if os.environ.get("PREFECT_API_URL") == LOCAL_API_URL:
        ui = LOCAL_API_URL.removesuffix("/api")
        print(f"\nUI: {ui} (Deployments, pipeline/kpbe, Run)", flush=True)
        print(f"To see a shell's `dvc repro` there too: export PREFECT_API_URL={LOCAL_API_URL}\n", flush=True)
    deployment: Any = pipeline_flow.to_deployment(name="kpbe", entrypoint_type=EntrypointType.MODULE_PATH)
    serve(deployment, limit=1)


def main() -> None:
    """Entry point of `python -m flows.serve`."""
    prepare_prefect()
    try:
        if tracked():
            serve_pipeline()
        else:
            with prefect_server():
                serve_pipeline()
    except KPBEError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
