"""Where cells run besides this process."""
