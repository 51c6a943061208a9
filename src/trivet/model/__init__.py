"""The model: kept in a store, sealed as an artifact, and asked through one predictor.

May import `trivet.rows` and what is below it. Can't be deleted: every leg stands on it.
"""
