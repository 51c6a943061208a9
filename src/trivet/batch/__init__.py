"""The batch leg: table in, predictions out."""
