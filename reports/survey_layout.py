"""The look of the raters' pages, on top of that of the site (`reports/layout.py`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import streamlit as st

from reports.texts import Texts, languages

NARROW, WIDE = "42rem", "66rem"
STYLE = """
<style>
.stMainBlockContainer {{ max-width: {width}; padding-top: 2.6rem; padding-bottom: 3rem; }}
[data-testid="stHeader"], [data-testid="stStatusWidget"] {{ display: none; }}
.stMainBlockContainer h1 {{ font-size: 2rem; }}
[data-testid="stElementContainer"]:has(.sv-language) {{ display: none; }}
ol.sv-steps.sv-steps {{ display: flex; flex-wrap: wrap; gap: 0.3rem 1.6rem; list-style: none; margin: 0 0 0.5rem; padding: 0; }}
.sv-steps li.sv-step.sv-step {{ margin: 0; padding: 0 0 0.3rem; font-size: 0.9rem; opacity: 0.78; border-bottom: 2px solid transparent; }}
.sv-steps li.sv-step[aria-current="step"] {{ opacity: 1; font-weight: 600; border-bottom-color: currentColor; }}
.sv-list {{ margin: 0.4rem 0 0.2rem; display: grid; gap: 0.9rem; line-height: 1.6; }}
.sv-list p {{ margin: 0; }}
.sv-quiet {{ opacity: 0.8; line-height: 1.6; margin: 0; }}
.sv-mark {{ display: grid; place-content: center; width: 3.6rem; height: 3.6rem; border-radius: 50%; margin-bottom: 0.4rem; }}
.sv-mark {{ border: 2px solid currentColor; }}
.sv-mark::before {{ content: ""; width: 0.75rem; height: 1.4rem; rotate: 45deg; translate: 0 -0.15rem; }}
.sv-mark::before {{ border: solid currentColor; border-width: 0 3px 3px 0; }}
.stButton button, .stFormSubmitButton button {{ padding: 0.6rem 1.7rem; }}
.stButton button p, .stFormSubmitButton button p {{ font-size: 1rem; font-weight: 600; }}
.stCheckbox label p {{ font-size: 1rem; }}
.stCheckbox label:has(input:not(:checked)) > div:first-of-type {{ border-color: color-mix(in srgb, currentColor 55%, transparent); }}
.stRadio label p {{ font-size: 1rem; }}
.stRadio > label p {{ font-weight: 600; }}
.stRadio [role="radiogroup"] {{ gap: 0.1rem 1.2rem; min-height: 0; }}
.stRadio [role="radiogroup"] label:has(input:not(:checked)) > div > div:first-of-type {{
  border-color: color-mix(in srgb, currentColor 55%, transparent);
}}
.stButton button[kind="primary"]:not(:disabled) {{ color: light-dark(#fff, #14171c); }}
.stFormSubmitButton button[kind="primaryFormSubmit"] {{ color: light-dark(#fff, #14171c); }}
.stButton button[kind="tertiary"] {{ padding-left: 0; padding-right: 0; }}
.stButton button[kind="secondary"] {{ border-color: color-mix(in srgb, currentColor 45%, transparent); }}
@media (max-width: 640px) {{
  .stMainBlockContainer {{ padding-top: 1.1rem; }}
  .stMainBlockContainer h1 {{ font-size: 1.7rem; }}
  ol.sv-steps.sv-steps {{ gap: 0.3rem 1.1rem; }}
  ol.sv-steps.sv-wide {{ display: none; }}
}}
</style>
"""


def look(texts: Texts | None = None, step: str = "", wide: bool = False) -> None:
    """Apply the page's style and show a line of steps that says where the rater is.

    Args:
        texts: in the rater's language; without them the line is left out.
        step: a name below `steps` in the texts.
        wide: for a page with a clip beside its questions; on a phone it leaves the line out.
    """
    st.html(STYLE.format(width=WIDE if wide else NARROW))
    if texts is None:
        return
    points = "".join(
        f'<li class="sv-step" aria-current="{"step" if name == step else "false"}">{escape(text)}</li>'
        for name, text in texts.part("steps").items()
    )
    st.html(f'<ol class="sv-steps{" sv-wide" if wide else ""}">{points}</ol>')


def speak(language: str) -> None:
    """Set the page's language, an HTML language tag, for screen readers."""
    st.html(
        f'<div class="sv-language"><script>document.documentElement.lang = '
        f"{json.dumps(language)};</script></div>",
        unsafe_allow_javascript=True,
    )


def title(text: str, lead: str = "") -> None:
    """Show the head of a step."""
    st.title(text, anchor=False)
    if lead:
        below_title(escape(lead))


def below_title(html: str) -> None:
    """Show a line below the head of a step."""
    st.html(f'<p class="kp-lead">{html}</p>')


def paragraphs(lines: Sequence[str]) -> None:
    """Show paragraphs; the words up to the first colon are bold."""
    st.html(f'<div class="sv-list">{"".join(_paragraph(line) for line in lines)}</div>')


def _paragraph(text: str) -> str:
    for colon in (": ", "："):
        head, separator, rest = text.partition(colon)
        if separator:
            return f"<p><b>{escape(head)}{colon.strip()}</b> {escape(rest)}</p>"
    return f"<p>{escape(text)}</p>"


def quiet(text: str) -> None:
    """Show a paragraph in a fainter colour."""
    st.html(f'<p class="sv-quiet">{escape(text)}</p>')


def mark() -> None:
    """Show a tick in a ring."""
    st.html('<div class="sv-mark"></div>')


def closed(name: str) -> None:
    """Show one sentence in every language; it is the same for every kind of link that does not work."""
    look()
    lines = "".join(f"<p>{line}</p>" for line in in_every_language(name))
    st.html(f'<div class="kp-empty sv-list">{lines}</div>')


def in_every_language(name: str) -> list[str]:
    """A text in each language, as HTML that names the language."""
    return [f'<span lang="{escape(tag)}">{escape(texts(name))}</span>' for tag, texts in languages().items()]
