"""The train leg: a table becomes a published model.

May import `trivet.pipeline`, `trivet.model` and what is below, but no other leg. Can be deleted,
with its command and its function in `trivet.api`, where models are only used.
"""
