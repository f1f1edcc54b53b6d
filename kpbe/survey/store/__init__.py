"""The survey's database: schema, answers, administration, export."""
