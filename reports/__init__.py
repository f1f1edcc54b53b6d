"""The Streamlit site (`streamlit run reports/app.py`).

The folder reports/results/ holds what the stages evaluate and report wrote.
"""
