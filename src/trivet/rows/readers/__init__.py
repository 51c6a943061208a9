"""Files of rows, a module for each format; train and batch read them with the same verbs.

May import `trivet.rows` and what is below it. Can't be deleted as a whole.
"""
