"""The same stage with and without Prefect: same files, same failures; Prefect also shows it in its UI."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from flows.stage import Stage, StageContext
from flows.tracking import artifact_key, tracked
from kpbe.core.clip_tasks import ClipTask, run_clip_tasks
from kpbe.core.files import fingerprint, write_text
from kpbe.errors import BadClip, KPBEError, ParamsError
from kpbe.params import Params, load_params

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


def with_runner(params: Params, runner: str) -> Params:
    return params.model_copy(update={"compute": params.compute.model_copy(update={"runner": runner})})


def write_clip(task: ClipTask) -> dict[str, Any]:
    if task.payload == "bad":
        raise BadClip("two faces were found.")
    print(f"writing {task.clip_id}")
    write_text(task.outputs[0], f"{task.clip_id} {task.payload}")
    return {"letters": len(task.clip_id)}


def fake_stage(name: str, out: Path, payloads: list[str], allowed: float = 0.5) -> Stage:
    """A stage that writes one text file per clip.

    Its name is unique, so that Prefect's records can be told apart.
    """

    def work(context: StageContext) -> Path:
        """Write a text file for each clip."""
        tasks = [
            ClipTask(
                f"clip{index}",
                out / "clips" / f"clip{index}.json",
                (out / "clips" / f"clip{index}.txt",),
                fingerprint(index, payload),
                payload=payload,
            )
            for index, payload in enumerate(payloads)
        ]
        finished, _ = run_clip_tasks(
            name, tasks, write_clip, out, map=context.map, max_rejected_fraction=allowed
        )
        print(f"{context.backend or 'no backend'}: {len(finished)} clips")
        return out

    work.__name__ = name
    return Stage(work, holds_network=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def name() -> str:
    return f"fake{uuid.uuid4().hex[:8]}"


# -- whether a run is tracked ------------------------------------------------------------------------------


def test_a_stage_is_tracked_when_an_api_url_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert not tracked()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert tracked()
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert not tracked()


def test_a_stage_is_tracked_when_the_active_profile_has_an_api_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    write_text(
        tmp_path / "profiles.toml",
        'active = "here"\n[profiles.here]\n[profiles.team]\nPREFECT_API_URL = "http://prefect.example/api"\n',
    )
    assert not tracked()
    monkeypatch.setenv("PREFECT_PROFILE", "team")
    assert tracked()
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert not tracked()
    monkeypatch.delenv("PREFECT_API_URL")
    write_text(tmp_path / "profiles.toml", "active = ")
    assert not tracked()


# -- without Prefect ---------------------------------------------------------------------------------------


def test_an_untracked_stage_does_not_import_prefect(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from flows.stage import Stage; from kpbe.params import "
        "load_params\n"
        "def empty(context): return Path('.')\n"
        f"Stage(empty).run(load_params({str(REPOSITORY / 'params.yaml')!r}))\n"
        "print(sorted({'prefect', 'torch', 'dvc', 'streamlit'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_cluster_without_prefect_is_refused(params: Params, runner: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=rf"compute\.runner = {runner} needs a Prefect API"):
        fake_stage(name, tmp_path, ["a"]).run(with_runner(params, runner))


def test_a_stage_that_fails_says_so_in_one_message(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "flows.preprocess"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == "error: params.yaml does not exist: run from the repository root.\n"


def test_artifact_keys_are_what_prefect_accepts() -> None:
    assert artifact_key("Train_stage2@Wav2Lip") == "train-stage2-wav2lip"


# -- with Prefect ------------------------------------------------------------------------------------------


def flow_run(name: str) -> Any:
    """The one run of a flow."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))
    assert len(runs) == 1
    return runs[0]


def log_lines(run: Any) -> list[str]:
    """A finished run's log; it reaches the server in batches, the line on the final state last."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    deadline = time.monotonic() + 30
    lines: list[str] = []
    while not any(line.startswith("Finished in state") for line in lines):
        assert time.monotonic() < deadline, lines
        time.sleep(0.2)
        with get_client(sync_client=True) as client:
            logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)
        lines = [log.message for log in logs if log.task_run_id is None]
    return lines


def artifacts_of(run: Any) -> dict[str, Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    return {str(artifact.key): artifact.data for artifact in found}


@pytest.mark.prefect
@pytest.mark.slow
def test_a_stage_makes_the_same_files_with_prefect_and_without(
    params: Params, name: str, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = ["a", "b", "bad", "c"]
    fake_stage(name, tmp_path / "tracked", payloads).run(params, "wav2lip")
    monkeypatch.delenv("PREFECT_API_URL")
    fake_stage(name, tmp_path / "direct", payloads).run(params, "wav2lip")

    assert contents(tmp_path / "tracked") == contents(tmp_path / "direct")
    assert len(contents(tmp_path / "tracked")) == 7  # three clips with records, rejected.csv

    run = flow_run(name)
    assert run.state.is_completed()
    assert run.name == f"{name}@wav2lip"
    assert run.parameters["backend"] == "wav2lip"
    assert run.parameters["params_yaml"]["model"]["name"] == params.model.name
    assert "wav2lip: 3 clips" in log_lines(run)
    artifacts = artifacts_of(run)
    assert artifacts[f"{name}-progress"] == 100
    assert "two faces were found." in artifacts[f"{name}-wav2lip"]


@pytest.mark.prefect
@pytest.mark.slow
def test_a_failing_stage_is_a_failed_flow_with_the_same_message(
    params: Params, name: str, tmp_path: Path, prefect_api: str
) -> None:
    with pytest.raises(KPBEError, match="1 of 2 clips were rejected") as error:
        fake_stage(name, tmp_path, ["a", "bad"], allowed=0.1).run(params)
    run = flow_run(name)
    assert run.state.is_failed()
    assert run.state.message == str(error.value)
    assert "two faces were found." in run.state.message
    assert not any("Traceback" in line for line in log_lines(run))


@pytest.mark.prefect
@pytest.mark.slow
def test_shards_run_in_processes_and_their_errors_arrive(
    params: Params, name: str, tmp_path: Path, prefect_api: str
) -> None:
    seen: list[float] = []

    def work(context: StageContext) -> Path:
        """Take square roots in other processes."""
        seen.extend(context.map(math.sqrt, [float(n * n) for n in range(7)], "roots"))
        seen.extend(context.map(refuse, ["weights"], "refuse"))
        return tmp_path

    work.__name__ = name
    with pytest.raises(KPBEError, match="weights are missing"):
        Stage(work).run(with_runner(params, "processes"))
    assert seen == [0, 1, 2, 3, 4, 5, 6]


def refuse(shard: str) -> None:
    raise KPBEError(f"{shard} are missing.")
