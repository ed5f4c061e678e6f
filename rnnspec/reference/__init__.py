"""The documented layer as one loop over named values, which known mistakes change."""
