"""Check your layers and models in your own pytest suite, with a test id for each rule."""
