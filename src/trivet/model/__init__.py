"""What answers: a model in its store, sealed, checked, and asked through one predictor.

May import `trivet.rows` and what is below it. Can't be deleted: every leg stands on it.
"""
