"""Take a scikit-learn model to production: train, batch-predict, serve."""

__version__ = "0.1.0"
