"""The rules of a model built on a recurrent layer: one function a rule, which says nothing or raises Violation or NotApplicable."""
