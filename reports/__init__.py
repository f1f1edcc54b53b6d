"""The Streamlit site (`streamlit run reports/app.py`); reports/results/ holds what the evaluate and report
stages wrote.
"""
