"""What a row is, and how it becomes floats: from JSON, from columns, from files of any format.

May import `trivet.errors` and `trivet.files` alone. Can't be deleted: every leg uses it.
"""
