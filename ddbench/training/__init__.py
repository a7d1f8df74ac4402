"""The one training loop: batched augmentation on the device, label regimes, precision; students and teachers share it.

Importing this package imports no torch; its modules do.
"""
