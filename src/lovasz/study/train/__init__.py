"""From a configuration to finished runs."""
