"""The documented layer as a loop over named values, which known mistakes change."""
