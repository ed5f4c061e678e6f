"""Models as people write and publish them; tests/models/test_public_models.py checks them."""
