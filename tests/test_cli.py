"""The command `kpbe`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kpbe import __version__, cli, doctor
from kpbe.checkpoints import catalogue

REPOSITORY = Path(__file__).resolve().parents[1]


def run_cli(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from kpbe.cli import main; main()",
    ]
    return subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPBE_WEIGHTS", raising=False)
    return tmp_path


def diagnosis() -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["doctor"])
    return result.exit_code, result.output


def test_help_lists_the_commands(tmp_path: Path) -> None:
    result = run_cli("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "doctor" in result.stdout
    assert "table1" in result.stdout


def test_doctor_finds_nothing_wrong_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    code, output = diagnosis()
    assert code == 0, output
    for word in (
        __version__,
        "python",
        "torch",
        "prefect",
        "dvc",
        "streamlit",
        "decord",
        "h264",
        "ffv1",
        "cores",
    ):
        assert word in output
    assert "data sample" in output or "params.yaml" in output


def test_doctor_says_what_is_missing_what_follows_and_where_to_get_it(empty_folder: Path) -> None:
    code, output = diagnosis()
    assert code == 0, output
    line = next(line for line in output.splitlines() if " wav2lip_gan " in line)
    assert line.split()[0] == "--"
    assert "trains a narrow generator" in line
    assert "wav2lip_gan.pth" in line
    assert "Rudrabha/Wav2Lip" in line
    assert all(name in output for name in catalogue.CATALOGUE)
    assert "run from the repository root" in output


def test_doctor_knows_what_follows_from_each_missing_file() -> None:
    assert set(doctor.WITHOUT) == set(catalogue.CATALOGUE)


def test_doctor_refuses_a_file_that_is_not_the_published_one(empty_folder: Path) -> None:
    name = catalogue.CATALOGUE["yunet"].file
    (empty_folder / "weights").mkdir()
    (empty_folder / "weights" / name).write_bytes(b"an error page")
    code, output = diagnosis()
    assert code == 1
    line = next(line for line in output.splitlines() if " yunet " in line)
    assert "WRONG" in line
    assert "not the published file" in line


def test_doctor_shows_wrong_params_and_the_state_of_the_dag(empty_folder: Path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    for path, text in {
        "data/raw/videos.csv": "path\na\nb\n",
        "checkpoints/stage1/summary.json": "{}",
        "weights/released/frontend.safetensors": "",
    }.items():
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(text)
    code, output = diagnosis()
    assert code == 0, output
    assert "2 in data/raw/videos.csv" in output
    assert "data/clips/clips.csv is not made yet" in output
    assert "checkpoints/stage1" in output
    assert "weights/released/frontend.safetensors" in output

    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("fps: 25.0", "fps: 0"))
    code, output = diagnosis()
    assert code == 1
    assert "data.fps = 0 is not allowed: input should be greater than 0" in output


def test_a_package_that_is_missing_or_broken_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"lib{name}.so: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert doctor._torch().mark == "WRONG"
    assert doctor._decord().mark == "--"
    assert "libdecord.so: cannot open" in doctor._decord().detail
    assert doctor._package("no-such-package").mark == "WRONG"


def test_table1_is_printed_with_where_the_rest_is(empty_folder: Path) -> None:
    missing = run_cli("table1", cwd=empty_folder)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: reports/results/table1.txt does not exist: run `make repro`")
    assert missing.stderr.count("\n") == 1

    cli.TABLE1_TEXT.parent.mkdir(parents=True)
    cli.TABLE1_TEXT.write_text("Wav2Lip  0.85\n")
    result = run_cli("table1", cwd=empty_folder)
    assert result.returncode == 0
    assert "Wav2Lip  0.85" in result.stdout
    assert "make report" in result.stdout
