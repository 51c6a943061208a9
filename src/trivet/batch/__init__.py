"""The batch leg: tables become predictions, at any size.

May import `trivet.model` and what is below, but no other leg. Can be deleted, with its command,
where nothing is predicted in batches.
"""
