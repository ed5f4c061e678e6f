"""A plugin that registers the device `host` when it is imported."""

from tests.subjects import host_device

host_device.register()
