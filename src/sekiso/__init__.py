"""Sekiso (積層): image layering for Microsoft Hyper-V."""

__version__ = "0.1.0"
