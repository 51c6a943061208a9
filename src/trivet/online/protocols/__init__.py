"""The protocols of other servers, a module for each.

May import what the online leg may. Each can be deleted, with the line that adds it to the app.
"""
