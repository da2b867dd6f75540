"""The operator ledger: how accurate each primitive is on this device, told apart from bugs."""
