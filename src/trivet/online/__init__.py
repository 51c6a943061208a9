"""The online leg: HTTP requests become answers.

May import `trivet.model` and what is below it, but no other leg. Can be deleted, with its command
and its functions in `trivet.api`.
"""
