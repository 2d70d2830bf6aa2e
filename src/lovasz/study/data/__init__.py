"""What a comparison trains and tests on."""
