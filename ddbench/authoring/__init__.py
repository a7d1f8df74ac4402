"""What a plugin's author is given to begin with: a small project that runs, and inherits the conformance kit."""
