"""The rules about models that contain a recurrent layer.

Each is a function of an observation that raises Violation, or NotApplicable.
"""
