"""Names of the files that a training leaves in its folder beside its weights."""

STATE_FILE = "state.pt"
PREVIOUS_STATE_FILE = "state.previous.pt"
CURVES_FILE = "curves.csv"
SHEETS_FOLDER = "sheets"
CULPRIT_FILE = "not_finite.npz"
