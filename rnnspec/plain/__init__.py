"""A plain replacement for `nn.RNN`, written from the documented equations in small methods.

Planted bugs override one of its methods, and the diagnosis runs it with a mistake built in.
"""
