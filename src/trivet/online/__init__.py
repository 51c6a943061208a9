"""The online leg: HTTP requests become answers.

May import `trivet.model` and what is below it, but not another leg. If you serve nothing, delete it
together with its command.
"""
