"""Declarative runbooks: deploy, watch, roll back, resume."""

__version__ = "0.1.0"
