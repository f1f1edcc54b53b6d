"""Errors for users. Every message is one sentence: what is wrong, which file or key, what to do."""

from __future__ import annotations


class KPBEError(Exception):
    """Base of all errors with a message for the user; shown without a traceback."""


class ParamsError(KPBEError):
    """A value in params.yaml is missing, unknown or out of its range."""


class MissingWeights(KPBEError):
    """A required weight file is not on this machine."""


class FetchFailed(KPBEError):
    """A weight file cannot be fetched: no network, a refusal, a wrong file, a full disk."""


class BadCheckpoint(KPBEError):
    """A checkpoint is not what its loader expects (wrong network, wrong shapes, damaged)."""


class BadClip(KPBEError):
    """One clip cannot be processed; batch stages write it to rejected.csv and continue."""


class SurveyError(KPBEError):
    """The survey refuses a request: unknown link, wrong item, clip not played, unreachable database."""
