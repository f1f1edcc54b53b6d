"""The frontends that trainings left in checkpoints/, the released one, and one that a user names: which there
are, how they are opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kpbe.errors import KPBEError, MissingWeights
from kpbe.methods import display_name
from kpbe.paths import CHECKPOINTS, FRONTEND_FILE, RELEASED, STAGE1, STAGE2, shipped

if TYPE_CHECKING:  # torch takes seconds, which a list of files need not wait for
    from kpbe.frontend.model import Frontend
    from kpbe.frontend.public_networks import Conventions


def trained_frontends(root: Path = Path()) -> dict[str, Path]:
    """Frontends that can be rendered with, by name: "Stage 2, Wav2Lip", ..., "Stage 1", "Released".

    Args:
        root: the repository root.
    """
    files = {
        f"Stage 2, {display_name(path.parent.name)}": path
        for path in sorted((root / STAGE2).glob(f"*/{FRONTEND_FILE}"))
    }
    files |= {"Stage 1": root / STAGE1 / FRONTEND_FILE, "Released": root / RELEASED / FRONTEND_FILE}
    return {name: path for name, path in files.items() if path.is_file()}


def frontend_file(checkpoint: Path | None) -> Path:
    """The file of a checkpoint that a user names: a file or a training's folder.

    Without a name it is the released one, which has seen real faces (that of `make repro` has seen drawn
    ones), else the first of `trained_frontends`, else the released one beside the package.

    Raises:
        MissingWeights: there is none.
    """
    if checkpoint is None:
        trained = trained_frontends()
        beside_package = shipped(RELEASED) / FRONTEND_FILE
        if not trained and not beside_package.is_file():
            raise MissingWeights(
                f"there is no {RELEASED / FRONTEND_FILE} and no trained frontend in {CHECKPOINTS}/: run "
                "`make repro` first, or name one with --checkpoint."
            )
        return trained.get("Released") or next(iter(trained.values()), beside_package)
    file = checkpoint / FRONTEND_FILE if checkpoint.is_dir() else checkpoint
    if not file.is_file():
        raise MissingWeights(f"{file} does not exist: correct --checkpoint or train the frontend first.")
    return file


def open_frontend(
    file: Path | None = None, device: str = "cpu", conventions: Conventions | None = None
) -> Frontend:
    """A frontend ready for rendering; the file tells what it is.

    Args:
        file: ours, or a public OSFV checkpoint in any wrapping (`kpbe.frontend.public_networks`); None takes
            that of `frontend_file`.
        device: torch device.
        conventions: of a public checkpoint whose weights and name do not tell them; None looks for them.

    Raises:
        MissingWeights, BadCheckpoint: as `kpbe.frontend.checkpoints` says.
        KPBEError: conventions are given for one of our files, which says them itself.
    """
    from kpbe.frontend.checkpoints import is_frontend_file, load_frontend, open_public_checkpoint

    if file is None:
        file = frontend_file(None)
    if not is_frontend_file(file):
        return open_public_checkpoint(file, conventions).to(device).for_rendering()
    if conventions is not None:
        raise KPBEError(f"{file} was written by KPBE and says itself what it is: leave --model out.")
    return load_frontend(file, device).for_rendering()


def described(file: Path, frontend: Frontend) -> str:
    """What a frontend is, in a line: its file, model, size of pictures, and what was taken for granted."""
    from kpbe.frontend.checkpoints import is_frontend_file
    from kpbe.frontend.public_networks import PUBLISHED_SIZES, sizes_of

    model = frontend.params
    size = f"{model.image_size}x{model.image_size}"
    if is_frontend_file(file):
        return f"{file} ({model.name}, {size})"
    order = "rotations as in vox-256-beta" if model.conventions.rotation == "beta" else "pitch, yaw, roll"
    line = f"{file} (public OSFV checkpoint, {model.generator.decoder} decoder, {size}, {order})"
    if sizes_of(model) != PUBLISHED_SIZES:
        line += f"; its sizes are not the published ones, and pictures of {size} are taken for granted"
    return line
