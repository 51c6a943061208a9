"""The commands: options mapped onto the functions of the legs, and what a terminal shows.

May import everything below. Can't be deleted: the three legs are started from here.
"""
