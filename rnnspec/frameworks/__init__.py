"""Adapters for layers of other libraries; install the extra of the same name to use a module.

Check a layer as you would check your own: `rnnspec check rnnspec.frameworks.keras:LSTM`. Read the
module of a similar library before you write an adapter for yours.
"""
