"""What can go wrong for a user. Every message is one sentence: what, which file or key, what to do."""

from __future__ import annotations


class KPBEError(Exception):
    """Base of all errors whose message is meant for the user; shown without a traceback."""


class ParamsError(KPBEError):
    """A value in params.yaml is missing, unknown or out of its range."""


class MissingWeights(KPBEError):
    """A pretrained weight file that was asked for is not on this machine."""


class FetchFailed(KPBEError):
    """A weight file cannot be fetched: no network, a refusal, another file than the published one, a disk
    that is full.
    """


class BadCheckpoint(KPBEError):
    """A checkpoint is not what its loader expects (wrong network, wrong shapes, damaged)."""


class BadClip(KPBEError):
    """One clip cannot be processed; batch stages write it to rejected.csv and go on."""


class SurveyError(KPBEError):
    """The survey cannot take an answer or do what was asked: unknown link, forged item, clip not played,
    database out of reach.
    """
