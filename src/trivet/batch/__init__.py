"""The batch leg: tables become predictions, at any size.

May import `trivet.model` and what is below it, but no other leg. Can be deleted, with its command
and its function in `trivet.api`.
"""
