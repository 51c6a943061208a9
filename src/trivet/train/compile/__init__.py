"""From a fitted pipeline to its compiled form, and the proof that both give the same answers.

May import what the train leg may. Can't be deleted as long as training publishes compiled models.
"""


class NotCompilable(Exception):
    """A step of a pipeline that has no compiled form; the argument names it."""
