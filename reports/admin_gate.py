"""Access to the survey's administration.

Either a password (its argon2 hash lies in .streamlit/secrets.toml) or `st.login`, where that is set up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from kpbe.survey.store.passwords import LoginThrottle
from reports.layout import heading

SIGNED_IN = "survey_admin_signed_in"
NO_PASSWORD = """\
<div class="kp-empty"><b>This page is closed: no password is set.</b><br><br>Run <code>kpbe survey password</code>, put the two lines that
it shows into <code>.streamlit/secrets.toml</code>, and start the site again.</div>"""


THROTTLE = LoginThrottle()
"""Counts failed attempts; one for the whole server, shared by all sessions."""


def may_enter(title: str) -> bool:
    """Return whether the visitor is the administrator; if not, show a password field or why there is none."""
    secrets = _secrets()
    survey = _part(secrets, "survey")
    if "auth" in secrets:
        return _by_login(title, survey)
    hashed = survey.get("admin_password")
    if not hashed:
        st.title(title, anchor=False)
        st.html(NO_PASSWORD)
        return False
    return st.session_state.get(SIGNED_IN) == hashed or _by_password(title, str(hashed))


def leave_button() -> None:
    """Show the button for signing out."""
    if "auth" in _secrets():
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    else:
        st.button(
            "Sign out", icon=":material/logout:", on_click=lambda: st.session_state.pop(SIGNED_IN, None)
        )


def _by_password(title: str, hashed: str) -> bool:
    heading(title, "Sign in to see who is where, make links and export the answers.")
    with st.form("survey_admin", width=420):
        password = st.text_input("Password", type="password", autocomplete="current-password")
        submitted = st.form_submit_button("Sign in", type="primary")
    if not submitted:
        return False
    visitor = _visitor()
    if THROTTLE.try_password(visitor, password, hashed):
        st.session_state[SIGNED_IN] = hashed
        st.rerun()
    wait = math.ceil(THROTTLE.wait_seconds(visitor))
    pause = f" Wait {wait} s before the next attempt." if wait else ""
    st.error(f"This is not the password.{pause}", icon=":material/lock:")
    return False


def _by_login(title: str, survey: Mapping[str, Any]) -> bool:
    """Return whether the visitor is signed in with the provider of `[auth]` and listed in survey.admins."""
    admins = [str(address).casefold() for address in survey.get("admins", ())]
    if admins and st.user.is_logged_in:
        address = str(st.user.get("email") or "").casefold()
        # a provider may leave this claim out, and may let people enter any address unchecked
        verified = st.user.get("email_verified", survey.get("trust_unmarked_addresses", False))
        if address and address in admins and verified is True:
            return True
    st.title(title, anchor=False)
    if not admins:
        st.html(
            '<div class="kp-empty"><b>This page is closed: nobody may administer.</b><br><br>List the e-mail '
            "addresses of those who may as "
            "<code>admins</code> below <code>[survey]</code> in <code>.streamlit/secrets.toml</code>.</div>"
        )
    elif st.user.is_logged_in:
        who = escape(str(st.user.get("email") or "This account"))
        st.html(f'<p class="kp-lead">{who} may not administer this survey.</p>')
        leave_button()
    else:
        st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
    return False


def _visitor() -> str:
    """The address that attempts are counted by.

    Behind a proxy that hides addresses, all visitors share one.
    """
    return st.context.ip_address or "this machine"


def _secrets() -> Mapping[str, Any]:
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError:
        return {}


def _part(secrets: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = secrets.get(name, {})
    return part if isinstance(part, Mapping) else {}
