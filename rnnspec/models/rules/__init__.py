"""The rules about models that contain a recurrent layer.

Each is a function that takes an observation and raises Violation or NotApplicable.
"""
