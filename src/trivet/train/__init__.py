"""The train leg: reads a table, publishes a model."""
