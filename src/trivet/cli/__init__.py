"""The commands: options mapped onto the functions of the legs, and what a terminal shows.

May import everything below. Cannot be deleted: the three legs are started from here.
"""
