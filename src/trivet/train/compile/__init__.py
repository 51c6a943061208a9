"""From a fitted pipeline to its compiled form, and the proof that both give the same answers.

May import what the train leg may. Can't be deleted: training publishes what it compiles.
"""


class NotCompilable(Exception):
    """A pipeline has no compiled form; the argument says which step is why."""
