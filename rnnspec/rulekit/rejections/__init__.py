"""Invalid arguments and calls that a layer must reject, and the side effects of rejected calls.

If you add an invalid call, write a function that lists such calls (a `CallLister`), and pass it to
`assert_call_rejected` in a rule.
"""
