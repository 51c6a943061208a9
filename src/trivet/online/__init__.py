"""The online leg: requests become answers, over HTTP.

May import `trivet.model` and what is below, but no other leg. Can be deleted, with its command,
where nothing is served.
"""
