"""The online leg: a REST service over the current model."""
