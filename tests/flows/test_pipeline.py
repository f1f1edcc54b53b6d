"""The pipeline flow on small DVC repositories of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.pipeline import pipeline
from flows.reproduce import reproduce, stages_in_order
from kpbe.errors import KPBEError

REPOSITORY = Path(__file__).resolve().parents[2]

DVC_YAML = """
stages:
  # in another order than they have to run
  last:
    cmd: python copy_text.py middle.txt last.txt
    deps: [middle.txt]
    outs: [last.txt]
  middle:
    cmd: python copy_text.py first.txt middle.txt
    deps: [first.txt]
    params: [letters]
    outs: [middle.txt]
  first:
    cmd: python copy_text.py params.yaml first.txt
    outs: [first.txt]
  alone:
    cmd: python copy_text.py params.yaml alone.txt
    outs: [alone.txt]
"""

COPY_TEXT = """
import sys
from pathlib import Path
if "bad" in Path("params.yaml").read_text() and "middle" in sys.argv[2]:
    sys.exit("error: the letters are bad:\\n  first.txt: b, a, d")
print(f"copying to {sys.argv[2]}")
Path(sys.argv[2]).write_text(Path(sys.argv[1]).read_text())
"""


@pytest.fixture
def dvc_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text("letters: abc\n")
    (tmp_path / "copy_text.py").write_text(COPY_TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stages_come_in_the_order_of_dvc_s_graph(dvc_repository: Path) -> None:
    assert stages_in_order() == ["alone", "first", "middle", "last"]
    assert stages_in_order(["middle"]) == ["first", "middle"]
    with pytest.raises(KPBEError, match="no stage is called midle: DVC knows alone, first, last, middle"):
        stages_in_order(["midle"])


def test_stages_of_the_repository_end_with_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    order = stages_in_order()
    assert order[0] == "acquire" and order.index("preprocess") < order.index("train_stage1")
    assert order.index("draw_grids") < order.index("train_stage1")
    assert "report" in order[-3:]  # nothing but the survey's stages may come after it
    assert order.index("enhance@pcavs") < order.index("mos_stimuli") < order.index("mos_scores")
    assert order.index("train_stage1") < order.index("train_stage2@wav2lip") < order.index("enhance@wav2lip")


def test_a_broken_dvc_yaml_is_one_message(dvc_repository: Path) -> None:
    (dvc_repository / "dvc.yaml").write_text("stages: {first: {cmd: [}")
    with pytest.raises(KPBEError, match=r"dvc\.yaml"):
        stages_in_order()


@pytest.mark.slow
def test_the_pipeline_runs_what_changed_and_says_so(
    dvc_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline()
    assert (dvc_repository / "last.txt").read_text() == "letters: abc\n"
    printed = capsys.readouterr().out
    assert "copying to last.txt" in printed
    assert [line.split(" (")[0] for line in printed.splitlines()[-4:]] == [
        "alone: ran",
        "first: ran",
        "middle: ran",
        "last: ran",
    ]

    (dvc_repository / "params.yaml").write_text("letters: abd\n")
    pipeline(["last"])
    # first.txt did not change, so neither did middle.txt, which ran because of its param
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()[-3:]] == [
        "first: cached",
        "middle: ran",
        "last: cached",
    ]
    (dvc_repository / "middle.txt").unlink()
    assert reproduce("middle").outcome == "restored"
    assert reproduce("middle", force=True).outcome == "ran"


@pytest.mark.slow
def test_a_failing_stage_stops_the_pipeline_with_its_own_message(
    dvc_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dvc_repository / "params.yaml").write_text("letters: bad\n")
    with pytest.raises(KPBEError) as error:
        pipeline(["last"])
    assert str(error.value) == "stage middle failed: the letters are bad:\n  first.txt: b, a, d"
    assert not (dvc_repository / "last.txt").exists()
    assert "copying to first.txt" in capsys.readouterr().out


STAGE_MODULE = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from flows.stage import Stage, main

def child(context):
    "Write one file."
    Path("child.txt").write_text(context.params.model.name)
    print("the child ran")
    return Path(".")

main(Stage(child))
"""


@pytest.mark.prefect
@pytest.mark.slow
def test_the_pipeline_and_its_stages_are_seen_in_prefect(dvc_repository: Path, prefect_api: str) -> None:
    (dvc_repository / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    (dvc_repository / "child.py").write_text(STAGE_MODULE)
    (dvc_repository / "dvc.yaml").write_text(
        "stages: {child: {cmd: python child.py, deps: [child.py], outs: [child.txt]}}"
    )
    pipeline()
    assert (dvc_repository / "child.txt").read_text() == "small"

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        states = {run.name: run.state_name for run in client.read_flow_runs()}
        tables = [str(artifact.data) for artifact in client.read_artifacts() if artifact.key == "pipeline"]
        names = {task.name for task in client.read_task_runs()}
    assert states["child"] == "Completed"
    assert "child" in names
    assert any("| child | ran |" in table for table in tables)

    (dvc_repository / "child.py").write_text("import sys; sys.exit('error: no more.')")
    with pytest.raises(KPBEError, match=r"stage child failed: no more\."):
        pipeline()
